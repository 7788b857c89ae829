import t from 'tap'
import { debts, type Debt } from '../../src/limits/debts.ts'
import { outagePlan, wholeOf } from '../../src/limits/outage-plan.ts'
import { hour, minute } from './limiter-suite.ts'
import { second } from './test-clock.ts'

const ann = { key: 'ann', windows: [minute, hour] }
const bob = { key: 'bob', windows: [minute] }
const totals = (taken: readonly Debt[]): unknown[] => taken.map(({ group, key, sharer, counts }) => [group, key, sharer, Object.fromEntries(counts.map(({ window, total }) => [window.name, total]))])

t.test('what is owed of one budget is one debt, for each window as long as that counts it', async (t) => {
  const owed = debts(10)
  owed.add('acme', ann, 3, 0)
  owed.add('acme', { ...ann, windows: [hour] }, 2, 30 * second)
  owed.add('acme', ann, 4, 50 * second)
  t.equal(owed.size, 1)
  t.ok(owed.has('acme'))
  t.same(totals(owed.take(100, 61 * second)), [['acme', 'ann', undefined, { minute: 4, hour: 9 }]])
  t.same([owed.size, owed.has('acme')], [0, false])
  t.same(owed.take(100, 61 * second), [])
})

t.test('debts of others are apart, however they are named', async (t) => {
  const owed = debts(100)
  const budgets = [bob, { ...bob, key: 'k3:bob' }, { ...bob, sharer: 'ann' }, { ...bob, sharer: '' }, { ...bob, key: 's3:bobann' }, { ...bob, key: 'bo', sharer: 'bann' }, { ...bob, key: '' }]
  for (const group of ['acme', 'globex']) for (const budget of budgets) owed.add(group, budget, 1, 0)
  t.equal(owed.size, 2 * budgets.length)
  t.equal(totals(owed.take(100, 0)).length, budgets.length, 'one group at a time')
  t.notOk(owed.has('acme'))
  t.ok(owed.has('globex'))
})

t.test('as many as fit are taken out, and at least one', async (t) => {
  const owed = debts(10)
  for (const key of ['a', 'b', 'c']) owed.add('acme', { key, windows: [minute, hour] }, 1, 0)
  t.same(totals(owed.take(5, 0)).length, 2)
  t.same(totals(owed.take(1, 0)).length, 1)
  t.equal(owed.size, 0)
})

t.test('what is put back is added to what came since', async (t) => {
  const owed = debts(10)
  owed.add('acme', ann, 3, 0)
  const [first] = owed.take(100, 0) as [Debt]
  owed.putBack(first, 0)
  t.equal(owed.size, 1)
  const [again] = owed.take(100, 0) as [Debt]
  owed.add('acme', bob, 1, 0)
  owed.add('acme', { ...ann, windows: [minute] }, 2, 0)
  owed.putBack(again, 0)
  t.same(totals(owed.take(100, 0)), [['acme', 'bob', undefined, { minute: 1 }], ['acme', 'ann', undefined, { minute: 5, hour: 3 }]])
})

t.test('what is given back is owed no more, where it has not been told', async (t) => {
  const owed = debts(10)
  owed.add('acme', ann, 3, 0)
  owed.giveBack('acme', { ...ann, windows: [hour] }, 2, 0, 0)
  owed.giveBack('acme', bob, 2, 0, 0)
  owed.giveBack('globex', ann, 2, 0, 0)
  t.same(totals(owed.take(100, 0)), [['acme', 'ann', undefined, { minute: 3, hour: 1 }]])
  owed.giveBack('acme', ann, 1, 0, 0)
  t.equal(owed.size, 0)
})

t.test('there is room for so many budgets, for those that are in it, and for others when some have run out', async (t) => {
  const owed = debts(2)
  owed.add('acme', bob, 1, 0)
  t.notOk(owed.hasRoom('acme', [{ key: 'a', windows: [minute] }, { key: 'b', windows: [minute] }], 0))
  owed.add('acme', ann, 1, 1)
  t.notOk(owed.hasRoom('acme', [{ ...bob, key: 'eve' }], 1))
  t.ok(owed.hasRoom('acme', [ann, bob], 1))
  t.notOk(owed.hasRoom('globex', [bob], 1), 'those of another group')
  t.ok(owed.hasRoom('acme', [{ ...bob, key: 'eve' }], 61 * second))
  t.equal(owed.size, 1, 'the hour of the other still counts')
})

t.test('debts are looked through once a second, however many ask', async (t) => {
  const owed = debts(1)
  const brief = { key: 'brief', windows: [{ ...minute, windowSeconds: 1 }] }
  owed.add('acme', brief, 1, 0)
  t.notOk(owed.hasRoom('acme', [bob], 0.5 * second))
  t.notOk(owed.hasRoom('acme', [bob], 1.4 * second))
  t.ok(owed.hasRoom('acme', [bob], 1.5 * second))
  owed.add('acme', bob, 1, 2 * second)
  const taken = owed.take(1, 2 * second) as [Debt]
  owed.add('acme', ann, 1, 2 * second)
  owed.putBack(taken[0], 2 * second)
  t.equal(owed.size, 2, 'what is put back was there before')
  t.ok(owed.hasRoom('acme', [ann, bob], 2 * second))
})

t.test('a part knows what it is a part of, and a plan is made once', async (t) => {
  const windows = [{ ...minute, whenUnavailable: 'local' as const }, { ...hour, whenUnavailable: 'allow' as const }]
  const plan = outagePlan(windows)
  t.equal(outagePlan(windows), plan)
  const parts = plan.partsFor(3)
  t.equal(plan.partsFor(3), parts)
  t.same(parts, [{ ...minute, quota: 3, whenUnavailable: 'local' }])
  t.same(parts.map(wholeOf), [windows[0]])
  t.equal(wholeOf(minute), minute)
  t.same(plan.partsFor(4), [{ ...minute, quota: 2, whenUnavailable: 'local' }])
})
