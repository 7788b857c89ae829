import fc from 'fast-check'
import type { Test } from 'tap'
import type { Charge, Limiter, LimitOutcome, LimitRequest } from '../../src/limits/limiter.ts'
import type { SlidingWindow, Window } from '../../src/limits/windows.ts'
import { mayAllow, type SpendingLog } from './reference.ts'
import { gap, holdAgainstReference, schedule } from './schedules.ts'
import { second, type TestedLimiter } from './test-clock.ts'

export const minute: SlidingWindow = { name: 'minute', quota: 10, windowSeconds: 60 }
export const hour: SlidingWindow = { name: 'hour', quota: 20, windowSeconds: 3600 }

/** What a request of one budget may say otherwise. */
export interface RequestChange {
  readonly key?: string
  readonly group?: string
  readonly windows?: readonly Window[]
  readonly sharer?: string
  readonly cost?: number
}

/** A request of `ann`, for one unit of the minute where nothing else is said. */
export function limitRequest ({ key = 'ann', group = 'acme', windows = [minute], sharer, cost = 1 }: RequestChange = {}): LimitRequest {
  return { group, budgets: [{ key, windows, ...sharer !== undefined && { sharer } }], cost }
}

/** The charge of a request that was allowed. */
export function known (charge: Charge | undefined): Charge {
  if (charge === undefined) throw new Error('nothing was charged')
  return charge
}

/** How much of this cost can be spent one after the other. */
export async function drain (limiter: Limiter, change: RequestChange = {}): Promise<number> {
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
    t.match(await limiter.consume(limitRequest({ cost: 7 })), { allowed: true, window: minute, remaining: 3, resetSeconds: 60, retryAfterSeconds: 0 })
    t.match(await limiter.consume(limitRequest({ cost: 3 })), { allowed: true, window: minute, remaining: 0, resetSeconds: 60, retryAfterSeconds: 0 })
    t.same(await limiter.consume(limitRequest()), { allowed: false, window: minute, remaining: 0, resetSeconds: 60, retryAfterSeconds: 60, charge: undefined })
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

  t.test('a clock that was set back by hours starves nobody who spends slowly', async (t) => {
    const { limiter, clock } = open()
    await limiter.consume(limitRequest())
    clock.now -= 3600 * second
    for (let spent = 0; spent < 30; spent++) {
      t.match(await limiter.consume(limitRequest()), { allowed: true })
      clock.now += 10 * second
    }
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
    const refused = { allowed: false, window: minute, remaining: 10, resetSeconds: 0, retryAfterSeconds: 60, charge: undefined }
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

  t.test('budgets of one request are spent from together, or none of them is', async (t) => {
    const { limiter } = open()
    const ask = async (principal: string, cost: number): Promise<LimitOutcome> => await limiter.consume({ group: 'acme', cost, budgets: [{ key: principal, windows: [minute] }, { key: 'org', windows: [hour] }] })
    t.match(await ask('ann', 9), { allowed: true, window: minute, remaining: 1 })
    t.match(await ask('bob', 9), { allowed: true, window: minute, remaining: 1 })
    t.match(await ask('eve', 3), { allowed: false, window: hour, remaining: 2, retryAfterSeconds: 3600 })
    t.match(await ask('bob', 2), { allowed: false, window: minute, remaining: 1, retryAfterSeconds: 60 })
    t.match(await ask('eve', 2), { allowed: true, window: hour, remaining: 0 })
    t.equal(await drain(limiter, { key: 'eve' }), 8)
    t.equal(await drain(limiter, { key: 'bob' }), 1)
  })

  t.test('a day ends at midnight of UTC, a month with its last day', async (t) => {
    for (const [per, start, end] of [
      ['day', '2026-11-22T00:00:00Z', '2026-11-23T00:00:00Z'],
      ['day', '2026-12-31T13:00:00Z', '2027-01-01T00:00:00Z'],
      ['month', '2026-11-01T00:00:00Z', '2026-12-01T00:00:00Z'],
      ['month', '2026-12-24T18:00:00Z', '2027-01-01T00:00:00Z'],
      ['month', '2028-02-29T23:59:59Z', '2028-03-01T00:00:00Z'],
      ['month', '2027-02-03T00:00:00Z', '2027-03-01T00:00:00Z'],
      ['month', '2100-02-28T23:00:00Z', '2100-03-01T00:00:00Z'],
      ['month', '2000-02-28T00:00:00Z', '2000-03-01T00:00:00Z'],
      ['month', '1970-01-31T00:00:00Z', '1970-02-01T00:00:00Z']
    ] as const) {
      const { limiter, clock } = open()
      const windows = [{ name: per, quota: 5, per }]
      clock.now = Date.parse(start) * 1000
      const left = (Date.parse(end) - Date.parse(start)) / 1000
      t.match(await limiter.consume(limitRequest({ windows, cost: 6 })), { allowed: false, remaining: 5, resetSeconds: 0, retryAfterSeconds: left }, `${start} ${per}`)
      t.match(await limiter.consume(limitRequest({ windows, cost: 4 })), { allowed: true, remaining: 1, resetSeconds: left })
      clock.now = Date.parse(end) * 1000 - 1
      t.match(await limiter.consume(limitRequest({ windows, cost: 2 })), { allowed: false, remaining: 1, retryAfterSeconds: 1 }, `${end} ${per}`)
      t.match(await limiter.consume(limitRequest({ windows })), { allowed: true, remaining: 0 })
      clock.now += 1
      t.equal(await drain(limiter, { windows }), 5, 'all of it anew')
    }
  })

  t.test('a day on a clock that is set back a day at most is held until it is over, on one set back by years until the day that it then is', async (t) => {
    const { limiter, clock } = open()
    const windows = [{ name: 'day', quota: 5, per: 'day' as const }]
    clock.now = Date.parse('2026-11-22T00:10:00Z') * 1000
    t.equal(await drain(limiter, { windows }), 5)
    clock.now -= 20 * 60 * second
    t.match(await limiter.consume(limitRequest({ windows })), { allowed: false, retryAfterSeconds: 86_400 + 600 })
    clock.now = Date.parse('2020-02-29T12:00:00Z') * 1000
    t.match(await limiter.consume(limitRequest({ windows })), { allowed: false, retryAfterSeconds: 43_200 })
    clock.now += 43_200 * second
    t.equal(await drain(limiter, { windows }), 5)
  })

  t.test('what a window keeps for each principal nobody else can spend', async (t) => {
    const { limiter } = open()
    const windows = [{ ...minute, quota: 100, share: { quota: 10, principals: 4 } }]
    const org = (sharer: string, cost = 1): RequestChange => ({ key: 'org', windows, sharer, cost })
    t.match(await limiter.consume(limitRequest(org('greedy', 71))), { allowed: false, remaining: 70, resetSeconds: 0, retryAfterSeconds: 60 })
    t.match(await limiter.consume(limitRequest(org('greedy', 60))), { allowed: true, remaining: 10 })
    t.match(await limiter.consume(limitRequest(org('greedy', 11))), { allowed: false, remaining: 10, resetSeconds: 60, retryAfterSeconds: 60 })
    t.equal(await drain(limiter, org('greedy')), 10)
    for (const honest of ['ann', 'bob', 'eve']) t.equal(await drain(limiter, org(honest)), 10, honest)
    t.match(await limiter.consume(limitRequest(org('late'))), { allowed: false, remaining: 0 }, 'kept for four, and all is spent')
  })

  t.test('what comes back of a share and of the rest is told together', async (t) => {
    const { limiter, clock } = open()
    const windows = [{ ...minute, quota: 100, share: { quota: 10, principals: 8 } }]
    const org = (sharer: string, cost = 1): LimitRequest => limitRequest({ key: 'org', windows, sharer, cost })
    await limiter.consume(org('ann', 10))
    clock.now += 10 * second
    await limiter.consume(org('bob', 10))
    clock.now += 10 * second
    await limiter.consume(org('bob', 20))
    t.match(await limiter.consume(org('ann', 5)), { allowed: false, remaining: 0, resetSeconds: 40, retryAfterSeconds: 40 })
    t.match(await limiter.consume(org('ann', 11)), { allowed: false, remaining: 0, resetSeconds: 40, retryAfterSeconds: 60 })
    t.match(await limiter.consume(org('bob', 5)), { allowed: false, remaining: 0, resetSeconds: 50, retryAfterSeconds: 50 })
    clock.now += 40 * second
    t.match(await limiter.consume(org('ann', 10)), { allowed: true, remaining: 0 })
    clock.now += 10 * second
    t.match(await limiter.consume(org('bob', 10)), { allowed: true, remaining: 0 })
  })

  t.test('a share of one window leaves the windows beside it whole', async (t) => {
    const { limiter } = open()
    const budgets = (principal: string): LimitRequest['budgets'] => [
      { key: principal, windows: [hour] },
      { key: 'org', sharer: principal, windows: [{ name: 'whole', quota: 12, windowSeconds: 60 }, { name: 'shared', quota: 100, windowSeconds: 60, share: { quota: 5, principals: 20 } }] }
    ]
    t.match(await limiter.consume({ group: 'acme', budgets: budgets('ann'), cost: 5 }), { allowed: true, window: { name: 'shared' }, remaining: 0, charge: { pooled: [0] } })
    t.match(await limiter.consume({ group: 'acme', budgets: budgets('ann'), cost: 1 }), { allowed: false, window: { name: 'shared' } })
    t.match(await limiter.consume({ group: 'acme', budgets: budgets('bob'), cost: 5 }), { allowed: true })
    t.match(await limiter.consume({ group: 'acme', budgets: budgets('eve'), cost: 3 }), { allowed: false, window: { name: 'whole' }, remaining: 2 })
  })

  t.test('windows with shares need somebody who takes one', async (t) => {
    const { limiter } = open()
    await t.rejects(async () => { await limiter.consume(limitRequest({ windows: [{ ...minute, share: { quota: 1, principals: 2 } }] })) }, { code: 'FMG_ERR_OPTION_INVALID', message: /sharer/ })
  })

  t.test('a request names at least one budget, and each once', async (t) => {
    const { limiter } = open()
    for (const keys of [[], ['ann', 'ann'], ['ann', 'org', 'ann']]) {
      const budgets = keys.map((key) => ({ key, windows: [minute] }))
      await t.rejects(async () => { await limiter.consume({ group: 'acme', budgets, cost: 1 }) }, { code: 'FMG_ERR_OPTION_INVALID', message: /budgets/ })
    }
    t.equal(await drain(limiter), 10)
  })

  t.test('what was not used is given back where it was taken', async (t) => {
    const { limiter, clock } = open()
    const request = limitRequest({ windows: [minute, hour], cost: 8 })
    const { charge } = await limiter.consume(request)
    clock.now += 30 * second
    await limiter.consume(limitRequest({ windows: [minute, hour], cost: 2 }))
    await limiter.settle(request, known(charge), -5)
    t.equal(await drain(limiter, { windows: [minute, hour] }), 5)
    clock.now += 30 * second
    t.equal(await drain(limiter, { windows: [minute, hour] }), 3, 'three were used at first')
    t.match(await limiter.consume(limitRequest({ windows: [hour] })), { allowed: true, remaining: 6 })
  })

  t.test('what was used beyond it is owed, even above the quota', async (t) => {
    const { limiter, clock } = open()
    const request = limitRequest({ cost: 8 })
    const { charge } = await limiter.consume(request)
    clock.now += 30 * second
    await limiter.settle(request, known(charge), 10)
    t.match(await limiter.consume(limitRequest()), { allowed: false, remaining: 0, resetSeconds: 30, retryAfterSeconds: 60 })
    clock.now += 30 * second
    t.match(await limiter.consume(limitRequest()), { allowed: false, remaining: 0 })
    clock.now += 30 * second
    t.equal(await drain(limiter), 10)
  })

  t.test('what was given back whole promises no room when it is forgotten', async (t) => {
    const { limiter, clock } = open()
    const request = limitRequest({ cost: 4 })
    const { charge } = await limiter.consume(request)
    await limiter.settle(request, known(charge), -4)
    clock.now += 20 * second
    t.match(await limiter.consume(limitRequest({ cost: 10 })), { allowed: true, resetSeconds: 60 })
    t.match(await limiter.consume(limitRequest()), { allowed: false, resetSeconds: 60, retryAfterSeconds: 60 })
  })

  t.test('what has grown old is not given back a second time', async (t) => {
    const { limiter, clock } = open()
    const request = limitRequest({ cost: 8 })
    const { charge } = await limiter.consume(request)
    clock.now += 60 * second
    t.equal(await drain(limiter), 10)
    await limiter.settle(request, known(charge), -8)
    t.equal(await drain(limiter), 0)
    const day = limitRequest({ windows: [{ name: 'day', quota: 5, per: 'day' }], cost: 3 })
    clock.now = Date.parse('2026-11-22T23:59:59Z') * 1000
    const late = await limiter.consume(day)
    clock.now += second
    await limiter.consume(day)
    await limiter.settle(day, known(late.charge), -3)
    t.match(await limiter.consume(limitRequest({ windows: day.budgets[0]?.windows ?? [], cost: 3 })), { allowed: false, remaining: 2 })
  })

  t.test('more than was taken is never given back', async (t) => {
    const { limiter } = open()
    const request = limitRequest({ cost: 4 })
    const { charge } = await limiter.consume(request)
    await limiter.consume(limitRequest({ cost: 3 }))
    await limiter.settle(request, known(charge), -100)
    t.equal(await drain(limiter), 7, 'the three of another request stay')
    await limiter.settle(limitRequest({ key: 'nobody' }), known(charge), -4)
    t.equal(await drain(limiter, { key: 'nobody' }), 10)
    for (const difference of [NaN, 0.5, Infinity]) {
      await t.rejects(async () => { await limiter.settle(request, known(charge), difference) }, { code: 'FMG_ERR_OPTION_INVALID', message: /difference/ })
    }
  })

  t.test('a share and the rest get back what each gave, and owe what was used beyond', async (t) => {
    const { limiter } = open()
    const windows = [{ ...minute, quota: 30, share: { quota: 10, principals: 2 } }]
    const org = (sharer: string, cost: number): LimitRequest => limitRequest({ key: 'org', windows, sharer, cost })
    const request = org('ann', 15)
    const { charge } = await limiter.consume(request)
    t.same(known(charge).pooled, [5])
    t.match(await limiter.consume(org('bob', 16)), { allowed: false, remaining: 15 })
    await limiter.settle(request, known(charge), -7)
    t.match(await limiter.consume(org('ann', 13)), { allowed: false, remaining: 12 })
    t.match(await limiter.consume(org('bob', 20)), { allowed: true, remaining: 0 }, 'the five went back to the rest')
    const owing = org('ann', 2)
    const second = await limiter.consume(owing)
    await limiter.settle(owing, known(second.charge), 3)
    t.match(await limiter.consume(org('ann', 1)), { allowed: false, remaining: 0 })
  })

  t.test('what one owes to the rest takes no other\'s share, as long as the window has room', async (t) => {
    const { limiter } = open()
    const windows = [{ ...minute, quota: 40, share: { quota: 10, principals: 3 } }]
    const org = (sharer: string, cost: number): LimitRequest => limitRequest({ key: 'org', windows, sharer, cost })
    const { charge } = await limiter.consume(org('ann', 20))
    await limiter.settle(org('ann', 20), known(charge), 5)
    t.match(await limiter.consume(org('bob', 11)), { allowed: false, remaining: 10 })
    t.match(await limiter.consume(org('bob', 10)), { allowed: true })
    t.match(await limiter.consume(org('eve', 6)), { allowed: false, remaining: 5 })
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
    await fc.assert(fc.asyncProperty(schedule, async (steps) => { await holdAgainstReference(steps, open()) }), { numRuns })
  })

  t.test('a clock that is set back any number of times never lets more through', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.record({ gap, cost: fc.integer({ min: 1, max: 12 }) }), { maxLength: 60 }), fc.array(fc.integer({ min: 0, max: 200 * second }), { maxLength: 20 }), async (steps, jumps) => {
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
