import fc from 'fast-check'
import t from 'tap'
import { AdmissionRate } from '../../src/limits/admission-rate.ts'
import { fairLevel } from '../../src/limits/fair-level.ts'
import { LoadReader } from '../../src/limits/load-reading.ts'
import { PriorityBucket } from '../../src/limits/priority-bucket.ts'
import { TierFlow } from '../../src/limits/tier-flow.ts'

t.test('load is the worst signal, each by its own target', async (t) => {
  const values = { gpu: 0.45, disk: 30 }
  const reader = new LoadReader({ gpu: { read: () => values.gpu, target: 0.9 }, disk: { read: () => values.disk, target: 100 } })
  t.same(reader.read(1), { load: 0.5, signal: 'gpu', failed: [] })
  values.disk = 120
  t.same(reader.read(1), { load: 1.2, signal: 'disk', failed: [] })
  values.disk = -120
  t.same(reader.read(1), { load: 0.5, signal: 'gpu', failed: [] })
  values.disk = 100
  t.same(reader.read(0.6), { load: 0.6, signal: 'disk', failed: [] }, 'below nothing is nothing')
})

t.test('a signal is smoothed, so that one pause is no overload', async (t) => {
  let pause = 4
  const reader = new LoadReader({ pause: { read: () => pause, target: 1 } })
  t.equal(reader.read(0.25).load, 1)
  t.equal(reader.read(0.25).load, 1.75)
  pause = 0
  t.equal(reader.read(0.5).load, 0.875)
})

t.test('a signal that fails is named, counts for nothing, and hides no other', async (t) => {
  let broken = false
  const reader = new LoadReader({
    thrown: { read: () => { if (broken) throw new Error('no driver'); return 2 }, target: 1 },
    missing: { read: () => broken ? NaN : 3, target: 1 },
    good: { read: () => 0.5, target: 1 }
  })
  t.same(reader.read(1), { load: 3, signal: 'missing', failed: [] })
  broken = true
  t.same(reader.read(0.5), { load: 0.5, signal: 'good', failed: ['thrown', 'missing'] })
  broken = false
  t.same(reader.read(0.5), { load: 1.5, signal: 'missing', failed: [] }, 'and begins anew')
})

t.test('no signals are no load', async (t) => {
  t.same(new LoadReader({}).read(1), { load: 0, signal: '', failed: [] })
})

t.test('a fair level gives the small what they ask for, and the large the same', async (t) => {
  t.equal(fairLevel([1, 1, 10, 10], 12), 5)
  t.equal(fairLevel([10, 1, 3], 3), 1)
  t.equal(fairLevel([5], 5), Infinity)
  t.equal(fairLevel([], 0), Infinity)
  t.equal(fairLevel([1], 0), 0)
})

t.test('whoever asks, a fair level spends the supply, or gives everybody all', async () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 1000 })), fc.integer({ min: 0, max: 10_000 }), (asked, supply) => {
    const level = fairLevel(asked, supply)
    const given = asked.reduce((sum, amount) => sum + Math.min(amount, level), 0)
    const wanted = asked.reduce((sum, amount) => sum + amount, 0)
    return Math.abs(given - Math.min(wanted, supply)) < 1e-6
  }))
})

const busy = { asked: 200, admitted: 100 }

function rate (): AdmissionRate {
  return new AdmissionRate({ floor: 0.2, recoverySeconds: 10 })
}

t.test('nothing is limited until load is too high, and then a little less is admitted than was', async (t) => {
  const admission = rate()
  admission.tick(0.1, 1, busy)
  t.equal(admission.limit, Infinity)
  admission.tick(0.1, 1.1, busy)
  t.equal(admission.limit, 90)
})

t.test('a load far too high is cut deeper', async (t) => {
  const admission = rate()
  admission.tick(0.1, 2.1, busy)
  t.equal(admission.limit, 70)
})

t.test('a cut has half a second to show, and a load that falls is not cut again', async (t) => {
  const admission = rate()
  admission.tick(0.1, 1.2, busy)
  for (let tick = 0; tick < 4; tick++) admission.tick(0.1, 1.3, { asked: 200, admitted: 90 })
  t.equal(admission.limit, 90)
  admission.tick(0.2, 1.2, { asked: 200, admitted: 90 })
  t.equal(admission.limit, 90)
  admission.tick(0.1, 1.2, { asked: 200, admitted: 150 })
  t.equal(admission.limit, 81, 'not from what was admitted before the last cut')
})

t.test('a limit that is not reached is cut from what was admitted', async (t) => {
  const admission = rate()
  admission.tick(0.1, 1.2, busy)
  admission.tick(1, 1.2, { asked: 60, admitted: 50 })
  t.equal(admission.limit, 45)
})

t.test('however high the load, the floor is admitted', async (t) => {
  const admission = rate()
  for (let tick = 0; tick < 100; tick++) admission.tick(1, 100 + tick, { asked: 200, admitted: Math.min(100, admission.limit) })
  t.equal(admission.limit, 20)
})

t.test('a limit grows by the same amount each second, and ends when it has room for twice what is asked for', async (t) => {
  const admission = rate()
  admission.tick(0.1, 1.1, busy)
  admission.tick(0.5, 2.5, { asked: 60, admitted: 60 })
  t.equal(admission.limit, 42)
  const seen = []
  for (let tick = 0; tick < 3; tick++) {
    admission.tick(0.5, 0.9, { asked: 60, admitted: 40 })
    seen.push(admission.limit)
  }
  t.same(seen, [47, 52, 57])
  t.equal(admission.increase, 10)
  admission.tick(1, 0.9, { asked: 33.6, admitted: 33.6 })
  t.equal(admission.limit, 67)
  admission.tick(0.1, 0.9, { asked: 34, admitted: 34 })
  t.equal(admission.limit, Infinity)
})

t.test('a limit that was set when there was nothing to do keeps nobody out for long', async (t) => {
  const admission = rate()
  admission.tick(1, 3, { asked: 0, admitted: 0 })
  t.equal(admission.limit, 0.2, 'the floor of one unit a second')
  const seen = Array.from({ length: 60 }, () => {
    admission.tick(1, 0.5, { asked: 1000, admitted: admission.limit })
    return admission.limit
  })
  t.same(seen.slice(0, 8).map((limit) => Math.round(limit * 10) / 10), [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
  t.ok((seen[59] ?? 0) > 100, 'beyond where it began it grows by a tenth of itself')
})

t.test('the next overload begins from what is admitted then', async (t) => {
  const admission = rate()
  admission.tick(0.1, 1.1, busy)
  admission.tick(1, 0.5, { asked: 1, admitted: 1 })
  admission.tick(1, 1.1, { asked: 20, admitted: 20 })
  t.equal(admission.limit, 18)
  t.equal(admission.increase, 2)
})

/** How many of a rank get in now. */
function takeAll (bucket: PriorityBucket, rank: number, now: number, perSecond = 120): number {
  let taken = 0
  while (bucket.take(rank, 1, now, perSecond)) taken++
  return taken
}

t.test('the lower ranks leave something to the higher', async (t) => {
  const bucket = new PriorityBucket(3)
  bucket.open(0, 120)
  t.equal(takeAll(bucket, 0, 1000), 10)
  t.equal(takeAll(bucket, 1, 1000), 10)
  t.equal(takeAll(bucket, 2, 1000), 10)
  t.equal(takeAll(bucket, 2, 1000), 0)
})

t.test('it begins half full, fills at the rate, and no further than for a quarter of a second', async (t) => {
  const bucket = new PriorityBucket(1)
  bucket.open(1000, 120)
  t.equal(takeAll(bucket, 0, 1000), 15)
  t.equal(takeAll(bucket, 0, 1100), 12)
  t.equal(takeAll(bucket, 0, 9000), 30)
  t.equal(takeAll(bucket, 0, 8000), 0, 'a clock that goes back gives nothing')
})

t.test('what the highest rank does not need goes to the next, to the unit', async (t) => {
  const bucket = new PriorityBucket(2)
  bucket.open(0, 100)
  let lower = 0
  for (let now = 1; now <= 10_000; now++) {
    if (now % 25 === 0) t.ok(bucket.take(1, 1, now, 100))
    if (bucket.take(0, 1, now, 100)) lower++
  }
  t.ok(Math.abs(lower - 600) <= 15, `${lower} of the 600 that are left`)
})

t.test('a slow server has room for two requests of every rank', async (t) => {
  const bucket = new PriorityBucket(3)
  bucket.open(0, 0.5)
  t.equal(takeAll(bucket, 2, 60_000, 0.5), 6)
})

t.test('a dear request gets in, and shuts the others out for a bucket at most', async (t) => {
  const bucket = new PriorityBucket(1)
  bucket.open(0, 120)
  t.ok(bucket.take(0, 1_000_000, 0, 120))
  t.notOk(bucket.take(0, 1, 125, 120))
  t.ok(bucket.take(0, 1, 130, 120))
})

t.test('what was given back can be taken again', async (t) => {
  const bucket = new PriorityBucket(1)
  bucket.open(0, 120)
  takeAll(bucket, 0, 0)
  bucket.giveBack(3)
  t.equal(takeAll(bucket, 0, 0), 3)
})

t.test('who is refused a dear request fills the bucket for nobody', async (t) => {
  const bucket = new PriorityBucket(1)
  bucket.open(0, 120)
  takeAll(bucket, 0, 0)
  bucket.giveBack(1)
  t.ok(bucket.take(0, 1_000_000, 0, 120))
  bucket.giveBack(1_000_000)
  t.equal(takeAll(bucket, 0, 0), 1)
})

t.test('what is given back after a tick makes no flow less than none', async (t) => {
  const flow = new TierFlow()
  flow.ask(1_000_000)
  flow.admit(1_000_000)
  flow.tick(0.1, 0.1)
  flow.giveBack('a', 1_000_000)
  flow.tick(0.1, 0.1)
  t.same([flow.asked, flow.admitted], [0, 0])
})

t.test('what is asked for and admitted is told a second, smoothed', async (t) => {
  const flow = new TierFlow()
  for (let index = 0; index < 10; index++) flow.ask(2)
  flow.admit(6)
  flow.tick(0.5, 0.5)
  t.same([flow.asked, flow.admitted], [20, 6])
  flow.tick(0.5, 0.5)
  t.same([flow.asked, flow.admitted], [10, 3])
})

t.test('who asks for much has its share, who asks for little has all', async (t) => {
  const flow = new TierFlow()
  const use = (principal: string, times: number): number => {
    let had = 0
    for (let time = 0; time < times; time++) {
      if (!flow.isFair(principal, 1, 0.95)) continue
      flow.share(principal, 1)
      had++
    }
    return had
  }
  t.equal(use('greedy', 100), 100, 'nothing is shared yet')
  use('modest', 3)
  flow.shareAnew(10 / 0.95)
  t.equal(use('greedy', 100), 7)
  t.equal(use('modest', 3), 3)
  t.equal(use('new', 7), 7)
  flow.shareAnew(1000)
  t.equal(use('greedy', 200), 200, 'enough for all')
})

t.test('a share is had bit by bit, a twentieth of it in advance', async (t) => {
  const flow = new TierFlow()
  for (let index = 0; index < 100; index++) flow.isFair('a', 1, 0)
  flow.shareAnew(40 / 0.95)
  const had = [0, 0.2, 0.45, 0.95].map((seconds) => {
    let times = 0
    for (; flow.isFair('a', 1, seconds); times++) flow.share('a', 1)
    return times
  })
  t.same(had, [2, 8, 10, 20])
})

t.test('with less than one for each, each may ask once, also for something dear', async (t) => {
  const flow = new TierFlow()
  for (const principal of ['a', 'b', 'c']) flow.isFair(principal, 5, 0.95)
  flow.shareAnew(1)
  t.ok(flow.isFair('a', 5, 0.95))
  flow.share('a', 5)
  t.notOk(flow.isFair('a', 5, 0.95))
  t.ok(flow.isFair('b', 5, 0.95))
})

t.test('what was given back counts neither as asked for nor as had', async (t) => {
  const flow = new TierFlow()
  const take = (): void => {
    flow.ask(5)
    flow.isFair('a', 5, 0.95)
    flow.share('a', 5)
    flow.admit(5)
  }
  for (let index = 0; index < 4; index++) take()
  for (let index = 0; index < 3; index++) flow.giveBack('a', 5)
  flow.isFair('b', 5, 0.95)
  flow.shareAnew(9 / 0.95)
  t.ok(flow.isFair('b', 5, 0.95))
  flow.share('b', 5)
  t.notOk(flow.isFair('b', 1, 0.95), 'a share of 4.5, where 20 and 5 would be one of 4')
  take()
  flow.giveBack('a', 5)
  t.ok(flow.isFair('a', 5, 0.95))
  flow.tick(1, 1)
  t.same([flow.asked, flow.admitted], [5, 5])
  flow.giveBack('a', 500)
  flow.isFair('b', 5, 0.95)
  flow.shareAnew(3)
  t.ok(flow.isFair('b', 5, 0.95))
  flow.share('b', 3)
  t.notOk(flow.isFair('b', 1, 0.95), 'what is given back late gives nobody a larger share')
  flow.tick(1, 1)
  t.same([flow.asked, flow.admitted], [0, 0])
})

t.test('a million principals in a second are not all remembered', async (t) => {
  const flow = new TierFlow()
  for (let index = 0; index < 1_000_000; index++) {
    flow.isFair(`${index}`, 1, 0.95)
    flow.share(`${index}`, 1)
  }
  t.equal(flow.principals, 10_000)
  flow.shareAnew(1)
  t.equal(flow.principals, 0)
})
