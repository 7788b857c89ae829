import fc from 'fast-check'
import t from 'tap'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { testClock } from './test-clock.ts'
import { holdAgainstReference, schedule } from './schedules.ts'

t.test('over 100,000 schedules it admits nothing that an exact log refuses, refuses at most a sub-window early, keeps every share, and its waits are honest', async () => {
  await fc.assert(fc.asyncProperty(schedule, async (steps) => {
    const clock = testClock()
    await holdAgainstReference(steps, { limiter: memoryLimiter({ now: () => clock.now / 1000 }), clock })
  }), { numRuns: 100_000 })
})
