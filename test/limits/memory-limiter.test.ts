import t from 'tap'
import { arrange } from '../../src/limits/budget.ts'
import { spendInAll } from '../../src/limits/decision.ts'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { emptyCount, expire, spend, subWindows } from '../../src/limits/window-count.ts'
import { drain, hour, known, limiterSuite, limitRequest, minute } from './limiter-suite.ts'
import { second, testClock, type TestClock } from './test-clock.ts'

function byClock (clock: TestClock): () => number {
  return () => clock.now / 1000
}

t.test('memory', async (t) => {
  limiterSuite(t, () => {
    const clock = testClock()
    return { limiter: memoryLimiter({ now: byClock(clock) }), clock }
  }, 1000)
})

t.test('it runs by a clock of its own when none is given', async (t) => {
  const limiter = memoryLimiter()
  t.equal(await drain(limiter), 10)
})

t.test('a clock that tells no time does not let more through', async (t) => {
  t.equal(await drain(memoryLimiter({ now: () => NaN })), 10)
})

t.test('when full, the budgets that have run out make room first', async (t) => {
  const clock = testClock()
  const limiter = memoryLimiter({ now: byClock(clock), maxKeys: 3 })
  limiter.consume(limitRequest({ key: 'kept', windows: [hour] }))
  limiter.consume(limitRequest({ key: 'old' }))
  limiter.consume(limitRequest({ key: 'old too', cost: 10 }))
  clock.now += 60 * second
  limiter.consume(limitRequest({ key: 'new' }))
  limiter.consume(limitRequest({ key: 'newer' }))
  t.match(limiter.consume(limitRequest({ key: 'kept', windows: [hour] })), { remaining: 18 })
  t.match(limiter.consume(limitRequest({ key: 'new' })), { remaining: 8 })
})

t.test('all of them at once, so that the next new budgets push out nothing', async (t) => {
  const clock = testClock()
  const limiter = memoryLimiter({ now: byClock(clock), maxKeys: 32 })
  const keys = Array.from({ length: 32 }, (_, index) => `${index}`)
  for (const key of keys) limiter.consume(limitRequest({ key, windows: [Number(key) < 8 ? minute : hour] }))
  clock.now += 60 * second
  for (let index = 0; index < 8; index++) limiter.consume(limitRequest({ key: `new ${index}` }))
  for (const key of keys.slice(8)) t.match(limiter.consume(limitRequest({ key, windows: [hour] })), { remaining: 18 })
})

t.test('one that refuses when full forgets nobody who still counts', async (t) => {
  const clock = testClock()
  const limiter = memoryLimiter({ now: byClock(clock), maxKeys: 20, whenFull: 'refuse' })
  for (let index = 0; index < 20; index++) limiter.consume(limitRequest({ key: `${index}`, windows: [index < 10 ? minute : hour] }))
  const full = { code: 'FMG_ERR_LIMITER_UNAVAILABLE', reason: 'limiter-full' }
  for (let index = 0; index < 100; index++) t.throws(() => limiter.consume(limitRequest({ key: `new ${index}` })), full)
  t.match(limiter.consume(limitRequest({ key: '3' })), { remaining: 8 })
  t.throws(() => limiter.consume({ group: 'acme', budgets: [{ key: '3', windows: [minute] }, { key: 'new', windows: [minute] }], cost: 1 }), full)
  t.match(limiter.consume(limitRequest({ key: '3' })), { remaining: 7 }, 'a request that is refused took nothing from the others')
  clock.now += 60 * second
  for (let index = 0; index < 10; index++) t.match(limiter.consume(limitRequest({ key: `new ${index}` })), { allowed: true })
  t.throws(() => limiter.consume(limitRequest({ key: 'one more' })), full)
  for (let index = 10; index < 20; index++) t.match(limiter.consume(limitRequest({ key: `${index}`, windows: [hour] })), { remaining: 18 })
  t.equal(limiter.size, 20)
})

t.test('more that was used counts, also where nothing was counted any more', async (t) => {
  const limiter = memoryLimiter()
  limiter.settle(limitRequest(), { at: 0, pooled: [] }, 4)
  t.equal(await drain(limiter), 6)
  limiter.settle(limitRequest({ key: 'bob' }), { at: 0, pooled: [] }, -4)
  t.equal(limiter.size, 1)
})

t.test('a flood of new keys pushes out its own, not an exhausted budget', async (t) => {
  const clock = testClock()
  const limiter = memoryLimiter({ now: byClock(clock), maxKeys: 100 })
  for (let index = 0; index < 10; index++) await drain(limiter, { key: `exhausted ${index}`, windows: [minute, hour] })
  for (let index = 0; index < 10_000; index++) {
    clock.now += 1
    limiter.consume(limitRequest({ key: `flood ${index}`, windows: [minute, hour] }))
  }
  for (let index = 0; index < 10; index++) t.match(limiter.consume(limitRequest({ key: `exhausted ${index}` })), { allowed: false })
  t.match(limiter.consume(limitRequest({ key: 'flood 0' })), { remaining: 9 }, 'the twin: what the flood pushed out starts anew')
})

t.test('a million identities take no more places than there are, and push out no exhausted one', async (t) => {
  const limiter = memoryLimiter({ now: () => 0 })
  const windows = [hour]
  for (let index = 0; index < 100; index++) await drain(limiter, { key: `exhausted ${index}` })
  for (let index = 0; index < 1_000_000; index++) limiter.consume(limitRequest({ key: `unknown ${index}`, windows }))
  t.equal(limiter.size, 100_000)
  for (let index = 0; index < 100; index++) t.match(limiter.consume(limitRequest({ key: `exhausted ${index}` })), { allowed: false })
  t.match(limiter.consume(limitRequest({ key: 'one more' })), { allowed: true })
})

t.test('what windows of other requests still count keeps a budget from being forgotten', async (t) => {
  const clock = testClock()
  const limiter = memoryLimiter({ now: byClock(clock), maxKeys: 2 })
  await drain(limiter, { key: 'two routes', windows: [hour] })
  limiter.consume(limitRequest({ key: 'two routes' }))
  limiter.consume(limitRequest({ key: 'other', cost: 5 }))
  limiter.consume(limitRequest({ key: 'third' }))
  t.match(limiter.consume(limitRequest({ key: 'two routes', windows: [hour] })), { allowed: false })
})

t.test('a single place goes to the newest budget', async (t) => {
  const limiter = memoryLimiter({ maxKeys: 1 })
  for (const key of ['a', 'b', 'c']) t.match(limiter.consume(limitRequest({ key, cost: 10 })), { allowed: true })
  t.match(limiter.consume(limitRequest({ key: 'c' })), { allowed: false })
  t.match(limiter.consume(limitRequest({ key: 'a' })), { allowed: true })
})

t.test('a refused stranger takes no place', async (t) => {
  const limiter = memoryLimiter({ maxKeys: 1 })
  await drain(limiter)
  t.match(limiter.consume(limitRequest({ key: 'stranger', cost: 11 })), { allowed: false })
  t.match(limiter.consume(limitRequest()), { allowed: false })
})

t.test('windows that run out while no request names them are dropped', async (t) => {
  const budget = arrange({ asked: [], others: [] }, [minute, hour], 0)
  spendInAll(budget.asked.map((count) => ({ count, shared: undefined })), 1, 0)
  t.equal(arrange(budget, [minute, hour], 1).others.length, 0)
  t.same(arrange(budget, [], 60 * second).others.map(({ window }) => window), [hour])
  t.same(arrange(budget, [minute], 3600 * second).others, [])
})

t.test('a count holds no more than a bucket a sub-window and one', async (t) => {
  const count = emptyCount(minute)
  let most = 0
  for (let now = 0; now < 600 * second; now += second / 4) {
    expire(count, now)
    spend(count, 1, now)
    most = Math.max(most, count.buckets.length)
  }
  t.equal(most, subWindows + 1)
})

t.test('of a charge that does not say what it took of the rest, the share gets back its part alone', async (t) => {
  const limiter = memoryLimiter()
  const request = limitRequest({ key: 'org', windows: [{ ...minute, quota: 30, share: { quota: 10, principals: 2 } }], sharer: 'ann', cost: 15 })
  const { at } = known((limiter.consume(request)).charge)
  limiter.settle(request, { at, pooled: [] }, -15)
  t.match(limiter.consume({ ...request, cost: 16 }), { allowed: false, remaining: 15 })
})

t.test('options are read strictly', async (t) => {
  for (const options of [{ maxKeys: 0 }, { maxKeys: '5' }, { now: 5 }, { maxKey: 5 }]) {
    t.throws(() => { Reflect.apply(memoryLimiter, undefined, [options]) }, { code: 'FMG_ERR_OPTION_INVALID', message: /memoryLimiter\.(maxKeys?|now)/ })
  }
})
