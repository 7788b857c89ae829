import { parseList } from 'structured-headers'
import t from 'tap'
import { limitHeader, limitPolicyHeader } from '../../src/limits/headers.ts'
import { readTiers } from '../../src/limits/tiers.ts'
import { readWindows } from '../../src/limits/windows.ts'
import { hour, minute } from './limiter-suite.ts'

t.test('windows are read strictly', async (t) => {
  t.same(readWindows([minute, hour], 'limits'), [minute, hour])
  const others = [{ name: 'day', quota: 5, per: 'day' }, { ...minute, share: { quota: 2, principals: 5 }, whenUnavailable: 'local' }]
  t.same(readWindows(others, 'limits'), others)
  for (const [value, message] of [
    [undefined, 'limits must be a list'],
    [[], 'limits must be a list of at least one window'],
    [[{ ...minute, name: 'per minute' }], 'limits[0].name must be a name of at most 64'],
    [[{ ...minute, name: 'a\n' }], 'limits[0].name must be'],
    [[{ ...minute, name: 'x'.repeat(65) }], 'limits[0].name must be'],
    [[{ ...minute, quota: 0 }], 'limits[0].quota must be'],
    [[{ ...minute, quota: 1e15 }], 'limits[0].quota must be'],
    [[{ ...minute, windowSeconds: 0 }], 'limits[0].windowSeconds must be'],
    [[{ ...minute, windowSeconds: 366 * 86_400 + 1 }], 'limits[0].windowSeconds must be'],
    [[{ ...minute, max: 5 }], 'limits[0].max is not an option'],
    [[minute, { ...hour, name: 'minute' }], 'limits[1].name must be another name'],
    [[{ name: 'x', quota: 5 }], 'limits[0] must be given either windowSeconds or per'],
    [[{ ...minute, per: 'day' }], 'limits[0] must be given either windowSeconds or per'],
    [[{ name: 'x', quota: 5, per: 'week' }], 'limits[0].per must be one of day, month'],
    [[{ ...minute, share: 2 }], 'limits[0].share must be an object'],
    [[{ ...minute, share: { quota: 0, principals: 2 } }], 'limits[0].share.quota must be'],
    [[{ ...minute, share: { quota: 2, principals: 6 } }], 'limits[0].share must be at most 10 units, the quota of the window, for all principals together, got 12'],
    [[{ ...minute, whenUnavailable: 'open' }], 'limits[0].whenUnavailable must be one of deny, allow, local']
  ] as const) {
    t.throws(() => readWindows(value, 'limits'), { code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${message}` }, message)
  }
})

t.test('a tier has its windows, a tier that is not listed those of the default', async (t) => {
  const tiers = readTiers({ tiers: { free: { windows: [minute] }, pro: { windows: [minute, hour] } }, defaultTier: 'free' }, 'limits')
  t.same(tiers.windowsOf('pro'), [minute, hour])
  t.equal(tiers.windowsOf('pro'), tiers.windowsOf('pro'))
  for (const tier of ['free', 'enterprise', '', '__proto__', 'constructor']) t.same(tiers.windowsOf(tier), [minute])
  t.same(tiers.windowsBeside('pro'), [{ ...minute, name: `pro.${minute.name}` }, { ...hour, name: `pro.${hour.name}` }])
  t.equal(tiers.windowsBeside('pro'), tiers.windowsBeside('pro'))
  for (const tier of ['enterprise', '', '__proto__']) t.equal(tiers.windowsBeside(tier), undefined)
  const long = readTiers({ tiers: { ['t'.repeat(60)]: { windows: [minute] } }, defaultTier: 't'.repeat(60) }, 'limits')
  t.throws(() => long.windowsBeside('t'.repeat(60)), { code: 'FMG_ERR_OPTION_INVALID', message: /windows\[0\]\.name must be a name of at most 64/ })
})

t.test('tiers are read strictly', async (t) => {
  const free = { windows: [minute] }
  for (const [value, message] of [
    [{ tiers: { free } }, 'limits.defaultTier must be'],
    [{ tiers: { free }, defaultTier: 'pro' }, 'limits.defaultTier must be one of free'],
    [{ tiers: { free }, defaultTier: 'toString' }, 'limits.defaultTier must be one of free'],
    [{ tiers: {}, defaultTier: 'free' }, 'limits.defaultTier must be one of'],
    [{ tiers: { free: {} }, defaultTier: 'free' }, 'limits.tiers.free.windows must be a list'],
    [{ tiers: { free, pro: { windows: [] } }, defaultTier: 'free' }, 'limits.tiers.pro.windows must be a list of at least one'],
    [{ tiers: { free: { windows: [minute], window: 5 } }, defaultTier: 'free' }, 'limits.tiers.free.window is not an option; did you mean windows?']
  ] as const) {
    t.throws(() => readTiers(value, 'limits'), { code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${message}` }, message)
  }
})

t.test('headers are the structured fields that they claim to be', async (t) => {
  t.equal(limitPolicyHeader([minute, hour]), '"minute";q=10;w=60, "hour";q=20;w=3600')
  t.same(parseList(limitPolicyHeader([minute])), [['minute', new Map([['q', 10], ['w', 60]])]])
  t.equal(limitPolicyHeader([{ name: 'day', quota: 5, per: 'day' }, { name: 'month', quota: 9, per: 'month' }]), '"day";q=5;w=86400, "month";q=9')
  const outcome = { allowed: false, window: hour, remaining: 0, resetSeconds: 12, retryAfterSeconds: 40 }
  for (const remaining of [0, 999_999_999_999_999]) {
    t.equal(limitHeader({ ...outcome, remaining }), `"hour";r=${remaining};t=12`)
    t.same(parseList(limitHeader({ ...outcome, remaining })), [['hour', new Map([['r', remaining], ['t', 12]])]])
  }
  const quoted = { ...hour, name: 'a "b" \\' }
  t.same(parseList(limitHeader({ ...outcome, window: quoted })), [['a "b" \\', new Map([['r', 0], ['t', 12]])]])
})
