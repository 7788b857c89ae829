import fc from 'fast-check'
import t from 'tap'
import { leasedLimiter, type LeasedLimiter, type LeasedLimiterOptions } from '../../src/limits/leased-limiter.ts'
import type { Charge, Limiter, LimitOutcome } from '../../src/limits/limiter.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import type { Window } from '../../src/limits/windows.ts'
import { known, limiterSuite, limitRequest, type RequestChange } from './limiter-suite.ts'
import { testClock, type TestClock } from './test-clock.ts'

const wide: Window = { name: 'wide', quota: 100_000, windowSeconds: 3600 }
const windows = [wide]
const shared: readonly Window[] = [{ name: 'org', quota: 10_000, windowSeconds: 3600, share: { quota: 45, principals: 10 } }]

/** A limiter that notes what it was asked, and answers later, when it is told to where that is wanted. */
function noting (limiter: Limiter): Limiter & { readonly asked: number[], readonly settled: number[], hold: () => () => void, fail: boolean } {
  let held = Promise.resolve()
  const noted = {
    asked: [] as number[],
    settled: [] as number[],
    fail: false,
    hold () {
      let release = (): void => undefined
      held = new Promise((resolve) => { release = resolve })
      return () => { release() }
    },
    async consume (request: Parameters<Limiter['consume']>[0]) {
      noted.asked.push(request.cost)
      const outcome = await limiter.consume(request)
      await held
      if (noted.fail) throw new Error('no connection')
      return outcome
    },
    async settle (request: Parameters<Limiter['settle']>[0], charge: Charge, difference: number) {
      noted.settled.push(difference)
      if (noted.fail) throw new Error('no connection')
      await limiter.settle(request, charge, difference)
    }
  }
  return noted
}

interface Leased {
  readonly clock: TestClock
  readonly store: ReturnType<typeof memoryLimiter>
  readonly noted: ReturnType<typeof noting>
  readonly leased: LeasedLimiter
  /** Half a lifetime goes by. */
  readonly sweep: () => void
  readonly ask: (change?: RequestChange) => Promise<LimitOutcome>
}

function open (change: Partial<LeasedLimiterOptions> = {}): Leased {
  const clock = testClock()
  const now = (): number => clock.now / 1000
  const store = memoryLimiter({ now })
  const noted = noting(store)
  let call = (): void => undefined
  const every = (_milliseconds: number, callback: () => void): (() => void) => {
    call = callback
    return () => { call = () => undefined }
  }
  const leased = leasedLimiter({ limiter: noted, now, every, ...change })
  return {
    clock,
    store,
    noted,
    leased,
    sweep () {
      clock.now += 500_000
      call()
    },
    ask: async (request = {}) => await leased.consume(limitRequest({ windows, ...request }))
  }
}

/** Asks so often within a second that leases are as large as they get: of 1, 2, 4, …, 64 and now of 100 units, of which 72 are left. */
async function heat ({ ask, noted }: Leased, times = 155): Promise<void> {
  for (let index = 0; index < times; index++) await ask()
  noted.asked.length = 0
}

/** Units that the limiter behind counts. */
function debited ({ store }: Leased, change: RequestChange = {}): number {
  const { remaining, window } = store.consume(limitRequest({ windows, ...change }))
  return window.quota - remaining - 1
}

t.test('a limiter that may hold one unit leases nothing, and is as exact as the one behind', async (t) => {
  limiterSuite(t, () => {
    const clock = testClock()
    const now = (): number => clock.now / 1000
    return { limiter: leasedLimiter({ limiter: memoryLimiter({ now }), now, maxUnits: 1, every: () => () => undefined }), clock }
  }, 50)
})

t.test('a hot identity is asked about once in a hundred requests', async (t) => {
  const opened = open()
  await heat(opened)
  const { ask, noted } = opened
  for (let index = 0; index < 10_000; index++) t.ok((await ask()).allowed)
  t.equal(noted.asked.length, 100)
  t.equal(debited(opened), 10_227, '155, 10,000, and what is left of a lease')
})

t.test('a cold identity asks directly', async (t) => {
  const { ask, noted, clock } = open()
  for (let index = 0; index < 5; index++) {
    await ask()
    clock.now += 2_000_000
  }
  t.same(noted.asked, [1, 1, 1, 1, 1])
  t.same(noted.settled, [])
})

t.test('a lease is as large as the requests of the last second were many', async (t) => {
  const { ask, noted, clock } = open()
  for (let index = 0; index < 8; index++) await ask()
  t.same(noted.asked, [1, 2, 4, 8].slice(0, noted.asked.length))
  clock.now += 1_000_000
  noted.asked.length = 0
  await ask()
  t.same(noted.asked, [8])
})

t.test('what happened two seconds ago makes no lease', async (t) => {
  const opened = open()
  await heat(opened, 8)
  opened.clock.now += 2_000_000
  await opened.ask()
  t.same(opened.noted.asked, [1])
})

t.test('whatever is used was debited before', async (t) => {
  const opened = open()
  for (let used = 1; used <= 500; used++) {
    t.ok((await opened.ask()).allowed)
    t.ok(opened.noted.asked.reduce((sum, units) => sum + units, 0) >= used)
  }
})

t.test('no more is held than the operator said, and no more than a tenth of a quota or of what is left', async (t) => {
  const largest = async (change: Partial<LeasedLimiterOptions>, quota: number): Promise<number> => {
    const opened = open(change)
    for (let index = 0; index < 500; index++) await opened.ask({ windows: listOf(quota) })
    return Math.max(...opened.noted.asked)
  }
  const lists = new Map<number, readonly Window[]>()
  const listOf = (quota: number): readonly Window[] => {
    const list = lists.get(quota) ?? [{ ...wide, quota }]
    lists.set(quota, list)
    return list
  }
  t.equal(await largest({}, 100_000), 100)
  t.equal(await largest({ maxUnits: 7 }, 100_000), 7)
  t.equal(await largest({}, 600), 53, 'not 60: much of it was gone when so much was asked for')
  t.equal(await largest({}, 19), 1)
})

t.test('a window that has much left, but a small quota, is not leased beyond a tenth of it', async (t) => {
  const { ask, noted, store, clock } = open()
  const list = [wide, { name: 'burst', quota: 200, windowSeconds: 1 }]
  store.consume(limitRequest({ windows, cost: 90_000 }))
  for (let index = 0; index < 600; index++) {
    await ask({ windows: list })
    clock.now += 10_000
  }
  t.equal(Math.max(...noted.asked), 20)
})

t.test('the last units are asked for one by one, so that a quota is spent whole', async (t) => {
  const { ask, noted } = open()
  const hundred = [{ ...wide, quota: 300 }]
  let allowed = 0
  while ((await ask({ windows: hundred })).allowed) allowed++
  t.equal(allowed, 300)
  t.same(noted.asked.slice(-10), Array.from({ length: 10 }, () => 1))
})

t.test('budgets that several share are held together at most so often', async (t) => {
  const { ask, noted } = open({ maxUnits: 50 })
  let used = 0
  let most = 0
  for (let index = 0; index < 100; index++) {
    for (const principal of ['ann', 'bob', 'eve']) {
      await ask({ key: 'org', sharer: principal, windows: shared })
      most = Math.max(most, noted.asked.reduce((sum, units) => sum + units, 0) - ++used)
    }
  }
  t.ok(most > 25 && most <= 50, `${most} were held`)
})

t.test('what is left of a lease is given back when its time is over, and not used afterwards', async (t) => {
  const opened = open()
  await heat(opened)
  const { sweep, noted, ask, clock } = opened
  t.equal(debited(opened), 227)
  sweep()
  t.same(noted.settled, [])
  sweep()
  await new Promise(setImmediate)
  t.same(noted.settled, [-72])
  t.equal(debited(opened), 156)
  clock.now += 1
  noted.asked.length = 0
  await ask()
  t.same(noted.asked.length, 1, 'asked anew')
})

t.test('a lease whose time is over is not used, though nobody swept', async (t) => {
  const opened = open()
  await heat(opened)
  opened.clock.now += 999_999
  await opened.ask()
  t.same(opened.noted.asked, [])
  opened.clock.now += 1
  await opened.ask()
  t.equal(opened.noted.asked.length, 1)
  await new Promise(setImmediate)
  t.same(opened.noted.settled, [-71])
})

t.test('closing gives back what is held, also what is on its way, and leases nothing any more', async (t) => {
  const opened = open()
  await heat(opened)
  const { leased, noted, ask } = opened
  for (let index = 0; index < 72; index++) await ask()
  const release = noted.hold()
  const late = ask()
  const closed = leased.close()
  release()
  await closed
  t.ok((await late).allowed)
  t.same(noted.settled, [-99])
  t.equal(debited(opened), 228)
  noted.asked.length = 0
  for (let index = 0; index < 5; index++) await ask()
  t.same(noted.asked, [1, 1, 1, 1, 1])
  t.equal(leased.size, 0)
})

t.test('what cannot be given back stays charged, and harms nobody', async (t) => {
  const opened = open()
  await heat(opened)
  opened.noted.fail = true
  await opened.leased.close()
  t.equal(debited(opened), 227)
})

t.test('a batch that is refused is asked for again to the unit', async (t) => {
  const { ask, noted, store } = open()
  const list = [{ ...wide, quota: 1000 }]
  for (let index = 0; index < 127; index++) await ask({ windows: list })
  noted.asked.length = 0
  // Others leave less than the next lease would be.
  for (let index = 0; index < 863; index++) store.consume(limitRequest({ windows: list }))
  let allowed = 0
  while ((await ask({ windows: list })).allowed) allowed++
  t.equal(allowed, 10)
  t.ok((noted.asked[0] ?? 0) > 10 && noted.asked[1] === 1, JSON.stringify(noted.asked))
  t.equal(store.consume(limitRequest({ windows: list })).allowed, false)
})

t.test('who comes while units are asked for waits for them, if they will be enough', async (t) => {
  const opened = open()
  await heat(opened)
  const { ask, noted } = opened
  for (let index = 0; index < 72; index++) await ask()
  const release = noted.hold()
  const asked = Array.from({ length: 150 }, async () => await ask())
  await new Promise(setImmediate)
  t.same(noted.asked, [100, ...Array.from({ length: 50 }, () => 1)])
  release()
  t.ok((await Promise.all(asked)).every(({ allowed }) => allowed))
  t.equal(noted.asked.length, 51)
})

t.test('a limiter that fails fails all that wait, and the next one asks again', async (t) => {
  const opened = open()
  await heat(opened)
  const { ask, noted } = opened
  for (let index = 0; index < 72; index++) await ask()
  noted.fail = true
  const asked = await Promise.allSettled([ask(), ask(), ask()])
  t.same(asked.map(({ status }) => status), ['rejected', 'rejected', 'rejected'])
  t.same(noted.asked, [100])
  noted.fail = false
  t.ok((await ask()).allowed)
  t.same(noted.asked, [100, 100], 'what nobody answered is not held')
})

t.test('those that waited for a batch that was refused ask for themselves', async (t) => {
  const { ask, noted, store } = open()
  const list = [{ ...wide, quota: 1000 }]
  for (let index = 0; index < 127; index++) await ask({ windows: list })
  for (let index = 0; index < 863; index++) store.consume(limitRequest({ windows: list }))
  noted.asked.length = 0
  const outcomes = await Promise.all(Array.from({ length: 12 }, async () => await ask({ windows: list })))
  t.same(outcomes.map(({ allowed }) => allowed), Array.from({ length: 12 }, (_, index) => index < 10))
  t.same(noted.asked.slice(1), Array.from({ length: 12 }, () => 1))
})

t.test('what is told of the rest is true: what is left behind, and what is left here', async (t) => {
  const opened = open()
  await heat(opened)
  const { ask, clock } = opened
  const { remaining, window, resetSeconds, retryAfterSeconds } = await ask()
  t.same({ remaining, window, resetSeconds, retryAfterSeconds }, { remaining: 100_000 - 156, window: wide, resetSeconds: 3600, retryAfterSeconds: 0 })
  clock.now += 500_000
  t.match(await ask(), { remaining: 100_000 - 157, resetSeconds: 3600 })
  const short = [{ ...wide, windowSeconds: 1 }]
  const quick = open()
  for (let index = 0; index < 8; index++) await quick.ask({ windows: short })
  quick.clock.now += 400_000
  t.match(await quick.ask({ windows: short }), { resetSeconds: 1 })
})

t.test('a request that used less puts the rest back into its lease', async (t) => {
  const opened = open()
  await heat(opened)
  const { leased, noted, ask } = opened
  const { charge } = await ask({ cost: 10 })
  await leased.settle(limitRequest({ windows, cost: 10 }), known(charge), -4)
  t.same(noted.settled, [])
  await leased.close()
  t.equal(debited(opened), 161)
})

t.test('more than was taken cannot be put back', async (t) => {
  const opened = open()
  await heat(opened)
  const { charge } = await opened.ask({ cost: 10 })
  await opened.leased.settle(limitRequest({ windows, cost: 10 }), known(charge), -1000)
  await opened.leased.close()
  t.equal(debited(opened), 155)
})

t.test('what its lease has no use for any more is given back behind', async (t) => {
  for (const over of ['its time', 'its units'] as const) {
    const opened = open()
    await heat(opened)
    const { leased, noted, ask, clock } = opened
    const { charge } = await ask({ cost: 10 })
    if (over === 'its time') clock.now += 1_000_000
    else for (let index = 0; index < 62; index++) await ask()
    await leased.settle(limitRequest({ windows, cost: 10 }), known(charge), -4)
    t.same(noted.settled, [-4], over)
    await leased.close()
    t.equal(debited(opened), over === 'its time' ? 161 : 223)
  }
})

t.test('a request that used more takes it from what is held, else from behind', async (t) => {
  const opened = open()
  await heat(opened)
  const { leased, noted, ask } = opened
  const { charge } = await ask()
  await leased.settle(limitRequest({ windows }), known(charge), 20)
  t.same(noted.settled, [])
  await leased.settle(limitRequest({ windows }), known(charge), 90)
  t.same(noted.settled, [90])
  await leased.close()
  t.equal(debited(opened), 155 + 1 + 20 + 90)
})

t.test('a charge of the limiter itself is settled by it', async (t) => {
  const { leased, noted, ask } = open()
  const { charge } = await ask({ cost: 10 })
  await leased.settle(limitRequest({ windows, cost: 10 }), known(charge), -4)
  t.same(noted.settled, [-4])
  t.throws(() => leased.settle(limitRequest({ windows }), known(charge), NaN), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('shares stay whole: what came from the share is given back to it, what came from the pool to the pool', async (t) => {
  const opened = open()
  const request = { key: 'org', sharer: 'ann', windows: shared }
  const { leased, ask, store } = opened
  for (let index = 0; index < 35; index++) await ask(request)
  const { charge } = await ask({ ...request, cost: 3 })
  await leased.settle(limitRequest({ ...request, cost: 3 }), known(charge), -2)
  await leased.close()
  const fresh = memoryLimiter({ now: () => opened.clock.now / 1000 })
  for (let index = 0; index < 36; index++) fresh.consume(limitRequest(request))
  for (const sharer of ['ann', 'bob']) t.equal(store.consume(limitRequest({ ...request, sharer })).remaining, fresh.consume(limitRequest({ ...request, sharer })).remaining, sharer)
})

t.test('requests of other shapes are leased apart', async (t) => {
  const { ask, noted } = open()
  const other = [{ ...wide, name: 'other' }]
  for (let index = 0; index < 8; index++) await ask()
  noted.asked.length = 0
  for (const change of [{ key: 'bob' }, { group: 'acm', key: 'eann' }, { windows: other }, { sharer: 'x' }]) await ask(change)
  t.same(noted.asked, [1, 1, 1, 1])
})

t.test('a request whose cost cannot be counted is refused, however much is held', async (t) => {
  const opened = open()
  await heat(opened)
  for (const cost of [0, -1, NaN, 1.5]) await t.rejects(opened.ask({ cost }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a flood of identities is not remembered, and pushes out nobody', async (t) => {
  const opened = open({ maxKeys: 100 })
  await heat(opened)
  const { leased, ask, noted, sweep } = opened
  for (let index = 0; index < 10_000; index++) await ask({ key: `stranger ${index}` })
  t.equal(leased.size, 100)
  noted.asked.length = 0
  await ask()
  t.same(noted.asked, [], 'still leased')
  for (let half = 0; half < 3; half++) sweep()
  t.equal(leased.size, 0, 'who was not seen for a second is forgotten')
})

t.test('however nodes ask, no window holds more than the quota and what they may hold', async () => {
  const step = fc.record({ gap: fc.constantFrom(0, 1000, 50_000, 400_000, 1_000_000, 5_000_000), node: fc.nat(2), cost: fc.integer({ min: 1, max: 3 }), times: fc.integer({ min: 1, max: 60 }), back: fc.nat(3) })
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    const all: Window = { name: 'all', quota: 1_000_000, windowSeconds: 86_400 }
    const list = [{ name: 'w', quota: 200, windowSeconds: 10 }, all]
    let total = 0
    const clock = testClock()
    const now = (): number => clock.now / 1000
    const store = memoryLimiter({ now })
    const sweeps: (() => void)[] = []
    const nodes = Array.from({ length: 3 }, () => leasedLimiter({ limiter: store, now, maxUnits: 15, every: (_milliseconds, callback) => { sweeps.push(callback); return () => undefined } }))
    let used: { at: number, cost: number }[] = []
    for (const { gap, node, cost, times, back } of steps) {
      clock.now += gap
      if (gap >= 400_000) for (const sweep of sweeps) sweep()
      for (let time = 0; time < times; time++) {
        const request = limitRequest({ windows: list, cost })
        const { allowed, charge } = await nodes[node]?.consume(request) ?? { allowed: false, charge: undefined }
        if (!allowed) break
        const settled = Math.min(back, cost)
        await nodes[node]?.settle(request, known(charge), -settled)
        used.push({ at: clock.now, cost: cost - settled })
        total += cost - settled
      }
      used = used.filter(({ at }) => at > clock.now - 10_000_000)
      if (used.reduce((sum, one) => sum + one.cost, 0) > 200 + 3 * 15) throw new Error('more than the bound')
    }
    await Promise.all(nodes.map(async (node) => { await node.close() }))
    // What was used was counted, and what nobody used was given back.
    const { remaining } = store.consume(limitRequest({ windows: [all] }))
    if (all.quota - remaining - 1 !== total) throw new Error('used but not counted, or counted but not used')
  }), { numRuns: 300 })
})

t.test('it sweeps by the clock of this machine when none is given', async (t) => {
  const store = memoryLimiter()
  const noted = noting(store)
  const leased = leasedLimiter({ limiter: noted, lifetimeMs: 20 })
  for (let index = 0; index < 5; index++) await leased.consume(limitRequest({ windows }))
  while (leased.size > 0) await new Promise(setImmediate)
  t.equal(noted.settled.reduce((sum, units) => sum + units, 0) + noted.asked.reduce((sum, units) => sum + units, 0), 5)
  await leased.close()
})

t.test('options are read strictly', async (t) => {
  const limiter = memoryLimiter()
  for (const options of [{}, { limiter: {} }, { limiter, maxUnits: 0 }, { limiter, lifetimeMs: 1001 }, { limiter, lifetimeMs: 9 }, { limiter, maxKeys: 0 }, { limiter, now: 5 }, { limiter, every: 5 }, { limiter, maxUnit: 5 }]) {
    t.throws(() => { Reflect.apply(leasedLimiter, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(options))
  }
})
