import t from 'tap'
import { isChosen, readCanary, type CanaryOptions } from '../../src/plugins/canary.ts'
import type { Principal } from '../../src/principal.ts'

const key = Buffer.alloc(32, 7)

function principal (id: string, ...roles: readonly string[]): Principal {
  return { id, type: 'user', tier: 'standard', roles, scopes: [], attributes: {}, credential: { method: 'session', id: 's' } }
}

function chosen (options: CanaryOptions, { model = 'fraud', secret = key }: { model?: string, secret?: Uint8Array } = {}): ReadonlySet<string> {
  const canary = readCanary(options, 'canary')
  return new Set(Array.from({ length: 10_000 }, (_, index) => `user-${index}`).filter((id) => isChosen(canary, model, principal(id), secret)))
}

t.test('a share of the principals is chosen, the same ones every time', async (t) => {
  const some = chosen({ version: '2', perMille: 100 })
  t.ok(some.size > 900 && some.size < 1100, `${some.size} of 10,000`)
  t.same(chosen({ version: '2', perMille: 100 }), some)
  const more = chosen({ version: '2', perMille: 300 })
  t.ok([...some].every((id) => more.has(id)), 'and stay so when the share grows')
  t.equal(chosen({ version: '2', perMille: 1000 }).size, 10_000)
  t.equal(chosen({ version: '2' }).size, 0)
})

t.test('who is chosen for one version, model or key is not chosen for all', async (t) => {
  const some = chosen({ version: '2', perMille: 100 })
  for (const others of [chosen({ version: '3', perMille: 100 }), chosen({ version: '2', perMille: 100 }, { model: 'digits' }), chosen({ version: '2', perMille: 100 }, { secret: Buffer.alloc(32, 8) })]) {
    const both = [...some].filter((id) => others.has(id)).length
    t.ok(both > 50 && both < 150, `${both} are in both`)
  }
})

t.test('principals and roles are named', async (t) => {
  const canary = readCanary({ version: '2', principals: ['ann'], roles: ['tester'] }, 'canary')
  t.same([principal('ann'), principal('bob', 'analyst', 'tester'), principal('bob', 'analyst')].map((who) => isChosen(canary, 'fraud', who, key)), [true, true, false])
})

t.test('a canary is read strictly', async (t) => {
  const many = Array.from({ length: 257 }, (_, index) => `user-${index}`)
  for (const bad of [{}, { version: '2', perMille: 1001 }, { version: '2', perMille: -1 }, { version: '2', percent: 5 }, { version: '2', principals: many }, { version: '2', roles: [1] }]) {
    t.throws(() => readCanary(bad, 'canary'), { code: 'FMG_ERR_OPTION_INVALID', message: /canary/ })
  }
  t.equal(readCanary({ version: '2', principals: many.slice(1) }, 'canary').principals.length, 256)
})
