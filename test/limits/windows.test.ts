import { parseList } from 'structured-headers'
import t from 'tap'
import { limitHeader, limitPolicyHeader } from '../../src/limits/headers.ts'
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
