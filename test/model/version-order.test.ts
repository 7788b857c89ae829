import fc from 'fast-check'
import t from 'tap'
import { versionFloor } from '../../src/model/version-floor.ts'
import { compareVersions } from '../../src/model/version-order.ts'

t.test('numbers with dots are ordered as Semantic Versioning orders them', async (t) => {
  // The example of section 11 of the standard, and versions that have more or fewer numbers.
  const order = [
    '0', '0.9', '1.0.0-alpha', '1.0.0-alpha.1', '1.0.0-alpha.beta', '1.0.0-beta', '1.0.0-beta.2', '1.0.0-beta.11', '1.0.0-rc.1', '1.0.0',
    '1.0.0.1', '1.2', '1.2.1', '1.9.2', '1.10', '2', '10.0.0', '20261123', '99999999999999999999'
  ]
  for (const [i, version] of order.entries()) {
    for (const [j, other] of order.entries()) t.equal(Math.sign(compareVersions({ version }, { version: other }) ?? NaN), Math.sign(i - j), `${version} and ${other}`)
  }
  for (const [a, b] of [['1', '1.0.0'], ['1.0.0', '1.0.0+build.7'], ['1.01', '1.1'], ['1.0-rc.1', '1.0.0-rc.1']] as const) t.equal(compareVersions({ version: a }, { version: b }), 0, `${a} and ${b}`)
})

t.test('other versions are ordered by the time of training, or not at all', async (t) => {
  const [early, late] = ['2026-01-02T03:04:05Z', '2026-01-02T03:04:06+00:00']
  t.ok(Number(compareVersions({ version: 'blue', trained_at: early }, { version: 'green', trained_at: late })) < 0)
  t.ok(Number(compareVersions({ version: 'blue', trained_at: late }, { version: '1.2', trained_at: early })) > 0, 'also where one of them has numbers')
  t.equal(compareVersions({ version: 'blue' }, { version: 'blue' }), 0)
  t.equal(compareVersions({ version: 'blue' }, { version: 'green' }), undefined)
  t.equal(compareVersions({ version: 'blue', trained_at: early }, { version: 'green' }), undefined)
  t.equal(compareVersions({ version: 'blue' }, { version: 'green', trained_at: early }), undefined)
  t.equal(compareVersions({ version: 'blue', trained_at: early }, { version: 'green', trained_at: early }), undefined, 'at the same time')
  t.equal(compareVersions({ version: 'blue', trained_at: '2026-13-01T00:00:00Z' }, { version: 'green', trained_at: early }), undefined, 'at a time that there is not')
  t.ok(Number(compareVersions({ version: '1.0', trained_at: late }, { version: '2.0', trained_at: early })) < 0, 'numbers come before times')
})

t.test('the order turns round with its sides', async (t) => {
  const version = fc.stringMatching(/^[0-9]{1,2}(\.[0-9]{1,2}){0,2}(-[0-9a-z]{1,2}(\.[0-9a-z]{1,2})?)?$/)
  fc.assert(fc.property(version, version, version, (a, b, c) => {
    const sign = (x: string, y: string): number => Math.sign(compareVersions({ version: x }, { version: y }) ?? NaN)
    return sign(a, b) + sign(b, a) === 0 && (sign(a, b) > 0 || sign(b, c) > 0 || sign(a, c) <= 0)
  }), { numRuns: 2000 })
})

t.test('a version below the highest before is refused, and so is what nothing tells the place of', async (t) => {
  const floor = versionFloor({ minimum: { fraud: '1.0' } })
  const rollback = (reason: string): { code: string, reason: string } => ({ code: 'FMG_ERR_MODEL_ROLLBACK', reason })
  t.throws(() => floor.check({ name: 'fraud', version: '0.9' }), rollback('version-below-minimum'))
  t.throws(() => floor.check({ name: 'fraud', version: 'blue', trained_at: '2026-01-01T00:00:00Z' }), rollback('version-unordered'), 'a minimum has no time')
  t.equal(floor.check({ name: 'fraud', version: '1.0.0' }), undefined)
  t.equal(floor.check({ name: 'churn', version: '0.1' }), undefined, 'another model has a floor of its own')
  for (const name of ['constructor', '__proto__']) t.equal(floor.check({ name, version: '0.1' }), undefined, name)
  floor.raise({ name: 'fraud', version: '1.3.0' })
  floor.raise({ name: 'fraud', version: '1.2.0' })
  t.throws(() => floor.check({ name: 'fraud', version: '1.2.9' }), { ...rollback('version-below-floor'), message: 'model older than the floor: fraud 1.2.9 is below 1.3.0' })
  t.throws(() => floor.check({ name: 'fraud', version: '1.3.0-rc.1' }), rollback('version-below-floor'))
  for (const version of ['1.3.0', '1.3', '1.3.1', '2']) t.equal(floor.check({ name: 'fraud', version }), undefined, version)
  const named = versionFloor({})
  named.raise({ name: 'fraud', version: 'blue', trained_at: '2026-01-02T00:00:00Z' })
  t.throws(() => named.check({ name: 'fraud', version: 'green' }), { ...rollback('version-unordered'), message: /nothing tells whether fraud green is older than blue/ })
  t.throws(() => named.check({ name: 'fraud', version: 'green', trained_at: '2026-01-01T00:00:00Z' }), rollback('version-below-floor'))
  t.equal(named.check({ name: 'fraud', version: 'green', trained_at: '2026-01-03T00:00:00Z' }), undefined)
})

t.test('a rollback that is allowed goes back to that version alone, and not below the minimum', async (t) => {
  const floor = versionFloor({ minimum: { fraud: '1.1' }, allowRollback: () => ['1.2', '1.0', 'blue', undefined] })
  floor.raise({ name: 'fraud', version: '1.3', trained_at: '2026-01-01T00:00:00Z' })
  t.match(floor.check({ name: 'fraud', version: '1.2' }), { version: '1.3' })
  t.throws(() => floor.check({ name: 'fraud', version: '1.2.1' }), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-floor' })
  t.throws(() => floor.check({ name: 'fraud', version: '1.0' }), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-below-minimum' })
  floor.raise({ name: 'fraud', version: '1.2' })
  t.match(floor.check({ name: 'fraud', version: '1.2' }), { version: '1.3' }, 'the floor has not sunk')
  const open = versionFloor({ allowRollback: () => ['blue', '9'] })
  open.raise({ name: 'fraud', version: '1.3' })
  t.match(open.check({ name: 'fraud', version: 'blue' }), { version: '1.3' }, 'nothing tells, so it counts as one')
  t.equal(open.check({ name: 'fraud', version: '9' }), undefined, 'forward is no rollback')
  open.raise({ name: 'fraud', version: 'blue' })
  t.throws(() => open.check({ name: 'fraud', version: '1.3' }), { code: 'FMG_ERR_MODEL_ROLLBACK', reason: 'version-unordered' })
})
