import t from 'tap'
import { countViolations } from '../../src/limits/backoff.ts'
import { readBackoff } from '../../src/limits/block.ts'
import type { Limiter, LimitRequest } from '../../src/limits/limiter.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'

const never = (error: unknown): never => { throw error }
const backoff = readBackoff({ violations: 5, withinSeconds: 60 }, 'backoff')

/** A limiter that also says what it was asked. */
function watched (limiter: Limiter): Limiter & { readonly asked: LimitRequest[] } {
  const asked: LimitRequest[] = []
  return {
    asked,
    consume (request) {
      asked.push(request)
      return limiter.consume(request)
    },
    settle: () => undefined
  }
}

t.test('as many violations as are told, within their time, block; fewer, or as many in more time, do not', async (t) => {
  let now = 0
  const blocks = memoryBlocks({ now: () => now, clock: () => now })
  const violations = countViolations(memoryLimiter({ now: () => now }), blocks, backoff, never)
  for (let count = 0; count < 4; count++) await violations.note('eve', 'acme')
  t.equal(blocks.secondsLeft('eve'), 0)
  now = 66_000
  for (let count = 0; count < 4; count++) await violations.note('eve', 'acme')
  await violations.note('bob', 'acme')
  t.equal(blocks.secondsLeft('eve'), 0)
  await violations.note('eve', 'acme')
  t.equal(blocks.secondsLeft('eve'), 30)
  t.equal(blocks.secondsLeft('bob'), 0)
})

t.test('violations are counted anew after a block, and what comes while one runs is not counted at all', async (t) => {
  let now = 0
  const limiter = watched(memoryLimiter({ now: () => 0 }))
  const blocks = memoryBlocks({ now: () => now, clock: () => now })
  const violations = countViolations(limiter, blocks, backoff, never)
  for (let count = 0; count < 9; count++) await violations.note('eve', 'acme')
  t.equal(limiter.asked.length, 5)
  t.match(limiter.asked[0], { group: 'acme', cost: 1, budgets: [{ windows: [{ name: 'violations', quota: 4, windowSeconds: 60 }] }] })
  now = 30_000
  for (let count = 0; count < 4; count++) await violations.note('eve', 'acme')
  t.equal(blocks.secondsLeft('eve'), 0)
  await violations.note('eve', 'acme')
  t.equal(blocks.secondsLeft('eve'), 60)
})

t.test('many that are refused at once lead to one block', async (t) => {
  const blocks = memoryBlocks({ now: () => 1000, clock: () => 0 })
  const later = watched(memoryLimiter())
  const violations = countViolations({ ...later, consume: async (request) => await later.consume(request) }, blocks, backoff, never)
  await Promise.all(Array.from({ length: 50 }, async () => { await violations.note('eve', 'eve') }))
  t.equal(blocks.secondsLeft('eve'), 30)
  t.equal(blocks.versionOf('eve'), 1000)
})

t.test('while the limiter fails a node counts alone, in bounded memory', async (t) => {
  const blocks = memoryBlocks()
  const failing: Limiter = { consume: async () => { throw new Error('no Redis') }, settle: () => undefined }
  const violations = countViolations(failing, blocks, backoff, never)
  for (let count = 0; count < 4; count++) await violations.note('eve', 'acme')
  for (let count = 0; count < 30_000; count++) await violations.note(`id-${count}`, 'acme')
  t.equal(blocks.list().length, 0)
  for (let count = 0; count < 5; count++) await violations.note('mallory', 'acme')
  t.equal(blocks.secondsLeft('mallory'), 30)
})

t.test('a block that cannot be recorded counts all the same, and is told', async (t) => {
  const blocks = memoryBlocks()
  blocks.whenChanged(async () => { throw new Error('no log') })
  const errors: unknown[] = []
  const violations = countViolations(memoryLimiter(), blocks, backoff, (error) => errors.push(error))
  for (let count = 0; count < 5; count++) await violations.note('eve', 'acme')
  t.equal(blocks.secondsLeft('eve'), 30)
  t.match(errors, [{ message: 'no log' }])
})
