import t from 'tap'
import { everybodysRequest, ownRequest } from '../../src/limits/charge-request.ts'
import type { Plan, Scope } from '../../src/limits/plan.ts'
import { readTiers } from '../../src/limits/tiers.ts'
import { hour, minute } from './limiter-suite.ts'

const day = { name: 'day', quota: 1000, per: 'day' as const }
const free = { windows: [minute] }

/** Name, scope and quota of each window of a plan. */
function shown (plan: Plan | undefined): readonly (readonly [string, Scope, number])[] {
  return (plan?.planned ?? []).map(({ of, window: { name, quota } }) => [name, of, quota])
}

t.test('a tier has its windows, a tier that is not listed those of the default', async (t) => {
  const tiers = readTiers({ tiers: { free, pro: { windows: [minute, hour] } }, defaultTier: 'free' }, 'limits')
  t.same(tiers.planOf('pro', undefined).windows, [minute, hour])
  t.equal(tiers.planOf('pro', 'fraud'), tiers.planOf('pro', 'fraud'))
  for (const tier of ['free', 'enterprise', '', '__proto__', 'constructor']) t.same(tiers.planOf(tier, undefined).windows, [minute])
  t.equal(tiers.areOfModels, false)
})

t.test('a tier to which one is obliged is counted apart, under names of its own', async (t) => {
  const tiers = readTiers({ tiers: { free, pro: { windows: [minute, { ...hour, of: 'org-model' }] } }, defaultTier: 'free' }, 'limits')
  t.same(shown(tiers.planBeside('pro', 'fraud')), [['pro.minute', 'principal', 10], ['pro.hour', 'org-model', 20]])
  t.same(shown(tiers.planBeside('pro', undefined)), [['pro.minute', 'principal', 10]])
  t.equal(tiers.planBeside('pro', 'fraud'), tiers.planBeside('pro', 'fraud'))
  for (const tier of ['enterprise', '', '__proto__']) t.equal(tiers.planBeside(tier, undefined), undefined)
  const long = readTiers({ tiers: { ['t'.repeat(60)]: { windows: [minute] } }, defaultTier: 't'.repeat(60) }, 'limits')
  t.throws(() => long.planBeside('t'.repeat(60), undefined), { code: 'FMG_ERR_OPTION_INVALID', message: /windows\[0\]\.name must be a name of at most 64/ })
})

t.test('windows that several spend from keep half of themselves for ten principals, unless told otherwise', async (t) => {
  const shares = (windows: readonly object[]): unknown[] => readTiers({ tiers: { free: { windows: [minute, ...windows] } }, defaultTier: 'free' }, 'limits')
    .planOf('free', 'fraud').windows.slice(1).map(({ share }) => share)
  t.same(shares([{ ...day, of: 'org' }, { ...hour, of: 'org-model' }, { ...day, name: 'small', quota: 7, of: 'model' }, { ...day, name: 'one', quota: 1, of: 'org' }]),
    [{ quota: 50, principals: 10 }, { quota: 1, principals: 10 }, { quota: 1, principals: 3 }, undefined])
  t.same(shares([{ ...day, of: 'org', share: { quota: 10, principals: 100 } }, { ...hour, of: 'principal-model' }]), [{ quota: 10, principals: 100 }, undefined])
})

t.test('the limits of one model stand in the place of those of the same name, apart; the others count beside them', async (t) => {
  const tiers = readTiers({
    tiers: {
      pro: {
        windows: [minute, { ...day, of: 'org' }],
        models: {
          large: { windows: [{ ...minute, quota: 2 }, { ...hour, of: 'model' }] },
          'acme-*': { windows: [{ ...day, quota: 5, of: 'org-model' }] },
          'acme-fraud': { windows: [{ ...minute, quota: 1 }] }
        }
      }
    },
    defaultTier: 'pro'
  }, 'limits')
  t.equal(tiers.areOfModels, true)
  t.same(tiers.models, ['large', 'acme-*', 'acme-fraud'])
  t.same(shown(tiers.planOf('pro', 'large')), [['day', 'org', 1000], ['minute', 'principal-model', 2], ['hour', 'model', 20]])
  t.same(shown(tiers.planOf('pro', 'acme-fraud')), [['minute', 'principal', 10], ['day', 'org-model', 5]], 'the first that fits counts')
  for (const model of [undefined, 'larger', 'Large', 'x-acme-1']) t.same(shown(tiers.planOf('pro', model)), [['minute', 'principal', 10], ['day', 'org', 1000]])
})

t.test('a request is charged to each budget under a key of its own, within its org, and to everybody\'s elsewhere', async (t) => {
  const scopes: Scope[] = ['principal', 'org', 'org-model', 'principal-model', 'model']
  const plan = readTiers({ tiers: { pro: { windows: scopes.map((of) => ({ ...minute, name: of, of })) } }, defaultTier: 'pro' }, 'limits').planOf('pro', 'fraud')
  const asker = { principal: 'ann', org: 'acme', model: 'fraud' }
  t.match(ownRequest(plan, asker, 3), {
    group: 'acme',
    cost: 3,
    budgets: [
      { key: 'principal:ann', sharer: undefined },
      { key: 'org', sharer: 'ann' },
      { key: 'org-model:fraud', sharer: 'ann' },
      { key: 'principal-model:3:ann:fraud', sharer: undefined }
    ]
  })
  t.match(everybodysRequest(plan, asker, 3), { group: 'model:fraud', cost: 3, budgets: [{ key: 'everybody', sharer: 'ann' }] })
  t.equal(everybodysRequest(plan, { ...asker, model: undefined }, 3), undefined)
  t.match(ownRequest(plan, { ...asker, org: undefined }, 1), { group: 'ann', budgets: [{ key: 'principal:ann' }, { key: 'own-org' }, { key: 'own-org-model:fraud' }, {}] })
  const keys = [['a', 'b:c'], ['a:b', 'c'], ['1:a', 'b']].map(([principal = '', model]) => ownRequest(plan, { principal, org: 'acme', model }, 1).budgets.at(-1)?.key)
  t.equal(new Set(keys).size, 3)
})

t.test('tiers are read strictly', async (t) => {
  for (const [value, message] of [
    [{ tiers: { free } }, 'limits.defaultTier must be'],
    [{ tiers: { free }, defaultTier: 'pro' }, 'limits.defaultTier must be one of free'],
    [{ tiers: { free }, defaultTier: 'toString' }, 'limits.defaultTier must be one of free'],
    [{ tiers: {}, defaultTier: 'free' }, 'limits.defaultTier must be one of'],
    [{ tiers: { free: {} }, defaultTier: 'free' }, 'limits.tiers.free.windows must be a list'],
    [{ tiers: { free, pro: { windows: [] } }, defaultTier: 'free' }, 'limits.tiers.pro.windows must be a list of at least one'],
    [{ tiers: { free: { windows: [minute], window: 5 } }, defaultTier: 'free' }, 'limits.tiers.free.window is not an option; did you mean windows?'],
    [{ tiers: { free: { windows: [minute, minute] } }, defaultTier: 'free' }, 'limits.tiers.free.windows[1].name must be another name'],
    [{ tiers: { free: { windows: [{ ...minute, of: 'team' }] } }, defaultTier: 'free' }, 'limits.tiers.free.windows[0].of must be one of principal, org'],
    [{ tiers: { free: { windows: [{ ...minute, of: 'org-model' }] } }, defaultTier: 'free' }, 'limits.tiers.free.windows must be a list with a window of principal or org'],
    [{ tiers: { free: { windows: [{ ...minute, share: { quota: 1, principals: 1 } }] } }, defaultTier: 'free' }, 'limits.tiers.free.windows[0].share must be left out: a window of principal is nobody else\'s'],
    [{ tiers: { free: { windows: [minute], models: { fraud: { windows: [] } } } }, defaultTier: 'free' }, 'limits.tiers.free.models.fraud.windows must be a list of at least one'],
    [{ tiers: { free: { windows: [minute], models: { fraud: { windows: [hour, hour] } } } }, defaultTier: 'free' }, 'limits.tiers.free.models.fraud.windows[1].name must be another name']
  ] as const) {
    t.throws(() => readTiers(value, 'limits'), { code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${message}` }, message)
  }
})
