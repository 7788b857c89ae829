import fc from 'fast-check'
import type { Test } from 'tap'
import type { Limiter, LimitOutcome, LimitRequest, Window } from '../../src/limits/limiter.ts'
import { mayAllow, mustAllow, type SpendingLog } from './reference.ts'

/** A limiter that counts nothing yet, and its clock. */
export interface TestedLimiter {
  readonly limiter: Limiter
  readonly clock: TestClock
}

/** Whole microseconds since the epoch. */
export interface TestClock { now: number }

/** A clock at a time like today's, so that numbers are as long as they will be. */
export function testClock (): TestClock {
  return { now: 1_800_000_000_123_457 }
}

export const second = 1_000_000
export const minute: Window = { name: 'minute', quota: 10, windowSeconds: 60 }
export const hour: Window = { name: 'hour', quota: 20, windowSeconds: 3600 }

/** A request of `ann`, for one unit of the minute where nothing else is said. */
export function limitRequest (change: Partial<LimitRequest> = {}): LimitRequest {
  return { key: 'ann', group: 'acme', windows: [minute], cost: 1, ...change }
}

/** How much of this cost can be spent one after the other. */
export async function drain (limiter: Limiter, change: Partial<LimitRequest> = {}): Promise<number> {
  let allowed = 0
  while ((await limiter.consume(limitRequest(change))).allowed) allowed++
  return allowed
}

/**
 * What every limiter must do.
 * @param open gives a fresh one each time.
 * @param numRuns schedules tried against the reference.
 */
export function limiterSuite (t: Test, open: () => TestedLimiter, numRuns: number): void {
  t.test('a quota can be spent whole, and not a unit more', async (t) => {
    const { limiter } = open()
    t.same(await limiter.consume(limitRequest({ cost: 7 })), { allowed: true, window: minute, remaining: 3, resetSeconds: 60, retryAfterSeconds: 0 })
    t.same(await limiter.consume(limitRequest({ cost: 3 })), { allowed: true, window: minute, remaining: 0, resetSeconds: 60, retryAfterSeconds: 0 })
    t.same(await limiter.consume(limitRequest()), { allowed: false, window: minute, remaining: 0, resetSeconds: 60, retryAfterSeconds: 60 })
  })

  t.test('what is spent at once is held for the window to the microsecond', async (t) => {
    const { limiter, clock } = open()
    await limiter.consume(limitRequest({ cost: 10 }))
    clock.now += 60 * second - 1
    t.match(await limiter.consume(limitRequest()), { allowed: false, retryAfterSeconds: 1, resetSeconds: 1 })
    clock.now += 1
    t.match(await limiter.consume(limitRequest({ cost: 10 })), { allowed: true, remaining: 0 })
  })

  t.test('room comes back as spending grows old, and the wait told is for this very cost', async (t) => {
    const { limiter, clock } = open()
    await limiter.consume(limitRequest({ cost: 4 }))
    clock.now += 20 * second
    await limiter.consume(limitRequest({ cost: 6 }))
    clock.now += 10 * second
    t.match(await limiter.consume(limitRequest({ cost: 4 })), { allowed: false, remaining: 0, resetSeconds: 30, retryAfterSeconds: 30 })
    t.match(await limiter.consume(limitRequest({ cost: 5 })), { allowed: false, remaining: 0, resetSeconds: 30, retryAfterSeconds: 50 })
    clock.now += 30 * second
    t.match(await limiter.consume(limitRequest({ cost: 5 })), { allowed: false, remaining: 4, resetSeconds: 20, retryAfterSeconds: 20 })
    t.match(await limiter.consume(limitRequest({ cost: 4 })), { allowed: true, remaining: 0 })
  })

  t.test('a request that one window refuses consumes nothing in the others', async (t) => {
    const { limiter, clock } = open()
    const windows = [minute, hour]
    await limiter.consume(limitRequest({ windows, cost: 10 }))
    t.match(await limiter.consume(limitRequest({ windows, cost: 5 })), { allowed: false, window: minute })
    t.equal(await drain(limiter, { windows: [minute] }), 0)
    t.equal(await drain(limiter, { windows: [hour] }), 10)
    clock.now += 60 * second
    t.match(await limiter.consume(limitRequest({ windows })), { allowed: false, window: hour })
    t.equal(await drain(limiter, { windows: [minute] }), 10)
  })

  t.test('a refusal names the window with the longest wait, an allowance the one with the smallest share left', async (t) => {
    const { limiter } = open()
    const windows = [hour, minute]
    t.match(await limiter.consume(limitRequest({ windows, cost: 4 })), { allowed: true, window: minute, remaining: 6 })
    t.match(await limiter.consume(limitRequest({ windows: [hour], cost: 10 })), { allowed: true, window: hour, remaining: 6 })
    t.match(await limiter.consume(limitRequest({ windows })), { allowed: true, window: hour, remaining: 5 })
    t.match(await limiter.consume(limitRequest({ windows, cost: 6 })), { allowed: false, window: hour, remaining: 5, retryAfterSeconds: 3600 })
    t.match(await limiter.consume(limitRequest({ windows: [minute, hour], cost: 6 })), { allowed: false, window: hour })
  })

  t.test('of windows that bind alike the first is named', async (t) => {
    const { limiter } = open()
    const windows = [{ ...minute, name: 'a' }, { ...minute, name: 'b' }]
    t.match(await limiter.consume(limitRequest({ windows, cost: 10 })), { allowed: true, window: { name: 'a' } })
    t.match(await limiter.consume(limitRequest({ windows })), { allowed: false, window: { name: 'a' } })
  })

  t.test('steady spending is held a sub-window too long at most', async (t) => {
    const { limiter, clock } = open()
    const windows = [{ ...minute, quota: 66 }]
    let allowed = 0
    for (let seconds = 0; seconds < 200; seconds++) {
      clock.now += second
      if ((await limiter.consume(limitRequest({ windows }))).allowed) allowed++
    }
    t.equal(allowed, 200)
  })

  t.test('a cost above the quota never fits, and is told to wait a window', async (t) => {
    const { limiter, clock } = open()
    const refused = { allowed: false, window: minute, remaining: 10, resetSeconds: 0, retryAfterSeconds: 60 }
    t.same(await limiter.consume(limitRequest({ cost: 11 })), refused)
    clock.now += 60 * second
    t.same(await limiter.consume(limitRequest({ cost: 11 })), refused)
    t.match(await limiter.consume(limitRequest({ cost: 10 })), { allowed: true })
  })

  t.test('budgets of other keys and groups are apart, however they are named', async (t) => {
    const { limiter } = open()
    const names = ['a', 'b', 'ab', '', 'a}:b', 'a%7d;:b', '{a', 'a\n', 'a\0', '\ud800', '\udc00', '\ufffd', '__proto__', 'x'.repeat(300), `${'x'.repeat(299)}y`, '\ud800'.repeat(300), '\udc00'.repeat(300), '%sha256;']
    for (const group of names) {
      for (const key of names) {
        t.match(await limiter.consume(limitRequest({ key, group, cost: 10 })), { allowed: true }, JSON.stringify({ group, key }))
        t.match(await limiter.consume(limitRequest({ key, group })), { allowed: false })
      }
    }
  })

  t.test('another quota for the same window counts what was spent under the old one', async (t) => {
    const { limiter } = open()
    await limiter.consume(limitRequest({ cost: 10 }))
    t.match(await limiter.consume(limitRequest({ windows: [{ ...minute, quota: 5 }] })), { allowed: false, remaining: 0 })
    t.equal(await drain(limiter, { windows: [{ ...minute, quota: 12 }] }), 2)
    t.match(await limiter.consume(limitRequest()), { allowed: false, remaining: 0 })
  })

  t.test('a window of another name or length starts empty, and the old one goes on counting', async (t) => {
    const { limiter, clock } = open()
    t.equal(await drain(limiter), 10)
    t.equal(await drain(limiter, { windows: [{ ...minute, name: 'other' }] }), 10)
    t.equal(await drain(limiter, { windows: [{ ...minute, windowSeconds: 61 }] }), 10)
    t.match(await limiter.consume(limitRequest()), { allowed: false, remaining: 0 })
    clock.now += 60 * second
    t.equal(await drain(limiter, { windows: [hour] }), 20)
    t.equal(await drain(limiter, { windows: [{ ...minute, windowSeconds: 61 }] }), 0)
    t.equal(await drain(limiter), 10)
  })

  t.test('what cannot be counted is refused as an option and spends nothing', async (t) => {
    const { limiter } = open()
    for (const cost of [0, -1, 1.5, NaN, Infinity, 2 ** 53]) {
      await t.rejects(async () => { await limiter.consume(limitRequest({ cost })) }, { code: 'FMG_ERR_OPTION_INVALID', message: /cost/ })
    }
    for (const windows of [[], [minute, minute], [{ ...minute, quota: NaN }], [{ ...minute, windowSeconds: 0.5 }]]) {
      await t.rejects(async () => { await limiter.consume(limitRequest({ windows })) }, { code: 'FMG_ERR_OPTION_INVALID', message: /windows/ })
    }
    t.equal(await drain(limiter), 10)
  })

  t.test('a clock set back a little holds what was spent a little longer', async (t) => {
    const { limiter, clock } = open()
    await limiter.consume(limitRequest({ cost: 9 }))
    clock.now -= 20 * second
    t.match(await limiter.consume(limitRequest()), { allowed: true, remaining: 0 })
    t.match(await limiter.consume(limitRequest()), { allowed: false, retryAfterSeconds: 80 })
    clock.now += 80 * second - 1
    t.match(await limiter.consume(limitRequest()), { allowed: false, retryAfterSeconds: 1 })
    clock.now += 1
    t.match(await limiter.consume(limitRequest({ cost: 10 })), { allowed: true })
  })

  t.test('a clock set back by years holds what was spent for one window more', async (t) => {
    const { limiter, clock } = open()
    await limiter.consume(limitRequest({ windows: [minute, hour], cost: 4 }))
    clock.now += 30 * second
    await limiter.consume(limitRequest({ windows: [minute, hour], cost: 6 }))
    clock.now -= 1e15
    t.match(await limiter.consume(limitRequest()), { allowed: false, retryAfterSeconds: 60 })
    clock.now += 60 * second - 1
    t.match(await limiter.consume(limitRequest()), { allowed: false, retryAfterSeconds: 1 })
    clock.now += 1
    t.match(await limiter.consume(limitRequest({ cost: 10 })), { allowed: true, remaining: 0 })
  })

  t.test('whatever the schedule, it admits nothing that an exact log refuses, refuses at most a sub-window early, and its waits are honest', async () => {
    await fc.assert(fc.asyncProperty(fc.array(window, { minLength: 1, maxLength: 3 }), schedule, async (given, steps) => {
      const windows = given.map((window, index) => ({ ...window, name: `w${index}` }))
      const { limiter, clock } = open()
      const log: SpendingLog = []
      const ask = async (cost: number): Promise<LimitOutcome> => {
        const outcome = await limiter.consume(limitRequest({ windows, cost }))
        if (outcome.allowed && !mayAllow(log, windows, clock.now, cost)) throw new Error('admitted above the quota')
        if (!outcome.allowed && mustAllow(log, windows, clock.now, cost)) throw new Error('refused more than a sub-window early')
        if (outcome.allowed) log.push({ at: clock.now, cost })
        return outcome
      }
      for (const { gap, cost, patient } of steps) {
        clock.now += gap
        const outcome = await ask(cost)
        if (outcome.allowed || !patient || windows.some(({ quota }) => quota < cost)) continue
        clock.now += (outcome.retryAfterSeconds - 1) * second
        if ((await ask(cost)).allowed) throw new Error('told to wait a second too long')
        clock.now += second
        if (!(await ask(cost)).allowed) throw new Error('told to wait too short')
      }
    }), { numRuns })
  })

  t.test('a clock that is set back any number of times never lets more through', async () => {
    await fc.assert(fc.asyncProperty(schedule, fc.array(fc.integer({ min: 0, max: 200 * second }), { maxLength: 20 }), async (steps, jumps) => {
      const windows = [{ name: 'w', quota: 10, windowSeconds: 60 }]
      const { limiter, clock } = open()
      const log: SpendingLog = []
      let elapsed = 0
      for (const [index, { gap, cost }] of steps.entries()) {
        elapsed += gap
        clock.now += gap - (jumps[index] ?? 0)
        const { allowed } = await limiter.consume(limitRequest({ windows, cost }))
        if (allowed && !mayAllow(log, windows, elapsed, cost)) throw new Error('admitted above the quota')
        if (allowed) log.push({ at: elapsed, cost })
      }
    }), { numRuns })
  })
}

const window = fc.record({ name: fc.constant(''), quota: fc.integer({ min: 1, max: 30 }), windowSeconds: fc.constantFrom(60, 61, 150, 3600) })

/** Steps that land on the edges of windows and sub-windows as well as anywhere. */
const gap = fc.oneof(
  fc.constantFrom(0, 1, 6 * second - 1, 6 * second, 6 * second + 1, 60 * second - 1, 60 * second, 60 * second + 1, 66 * second),
  fc.integer({ min: 0, max: 2 * second }),
  fc.integer({ min: 0, max: 20 * second }),
  fc.integer({ min: 0, max: 4000 * second })
)

const schedule = fc.array(fc.record({ gap, cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 31 })), patient: fc.boolean() }), { maxLength: 60 })
