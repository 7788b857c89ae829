import t from 'tap'
import { readConcurrencyTiers, slotRequests } from '../../src/limits/concurrency-plan.ts'

const asker = { principal: 'ann', org: 'acme', model: 'fraud' }
const tiers = {
  free: { windows: [], concurrency: { principal: 1, model: 4 }, models: { 'large-*': { concurrency: { principal: 2, 'org-model': 3 } } } },
  pro: { windows: [], concurrency: { 'org-model': 2, whenUnavailable: 'local' as const } },
  open: { windows: [] }
}
const read = readConcurrencyTiers({ tiers, defaultTier: 'free' }, 'limits')

t.test('the slots of a request are asked for in one question, those of everybody in another', async (t) => {
  const plan = read.planOf('free', 'fraud')
  t.same(plan?.limits, [{ name: 'principal', max: 1 }, { name: 'model', max: 4 }])
  if (plan === undefined) return
  t.same(slotRequests(plan, asker), [
    { group: 'acme', slots: [{ key: 'principal:ann', limit: { name: 'principal', max: 1 } }] },
    { group: 'model:fraud', slots: [{ key: 'everybody', limit: { name: 'model', max: 4 } }] }
  ])
})

t.test('what is of a model counts where there is one', async (t) => {
  t.same(read.planOf('free', undefined)?.limits, [{ name: 'principal', max: 1 }])
  t.equal(read.planOf('pro', undefined), undefined)
  t.same(read.planOf('pro', 'fraud')?.limits, [{ name: 'org-model', max: 2, whenUnavailable: 'local' }])
  t.equal(read.planOf('open', 'fraud'), undefined)
})

t.test('limits of a model stand in the place of the tier\'s own, each by itself', async (t) => {
  t.same(read.planOf('free', 'large-one')?.limits, [{ name: 'principal', max: 2 }, { name: 'org-model', max: 3 }, { name: 'model', max: 4 }])
  t.same(read.models, ['large-*'])
})

t.test('the same question has the same plan', async (t) => {
  t.equal(read.planOf('free', 'fraud'), read.planOf('free', 'other'))
  t.equal(read.planOf('none', 'fraud'), read.planOf('free', 'fraud'), 'a tier that is not listed is the default')
  t.equal(read.planOf('__proto__', 'fraud'), read.planOf('free', 'fraud'))
})

t.test('beside the own tier it is counted apart', async (t) => {
  const plan = read.planBeside('free', 'fraud')
  if (plan === undefined) throw new Error('no plan')
  t.same(slotRequests(plan, asker).map(({ slots }) => slots), [
    [{ key: 'free.principal:ann', limit: { name: 'free.principal', max: 1 } }],
    [{ key: 'free.everybody', limit: { name: 'free.model', max: 4 } }]
  ])
  t.match(read.planBeside('none', 'fraud'), { limits: [{ name: 'free.principal' }, { name: 'free.model' }] }, 'never without a limit')
})

t.test('what is not a limit is refused', async (t) => {
  for (const concurrency of [{ principal: 0 }, { principal: 1.5 }, { everybody: 1 }, { whenUnavailable: 'retry' }, 4]) {
    t.throws(() => { Reflect.apply(readConcurrencyTiers, undefined, [{ tiers: { free: { windows: [], concurrency } }, defaultTier: 'free' }, 'limits']) }, { code: 'FMG_ERR_OPTION_INVALID', message: /limits\.tiers\.free\.concurrency/ })
  }
  t.throws(() => { readConcurrencyTiers({ tiers, defaultTier: 'none' }, 'limits') }, { code: 'FMG_ERR_OPTION_INVALID', message: /defaultTier/ })
})
