import path from 'node:path'
import t from 'tap'
import { subjectPropertiesOf } from '../../src/authz/authzen-message.ts'
import { authzen } from '../../src/authz/authzen-policy.ts'
import { asPrincipal } from '../../src/testing.ts'
import { findCerbos, startCerbos } from '../helpers/cerbos.ts'
import { auditIn, guardedApp, guardOptions, recordsIn } from '../helpers/guard.ts'

const rules = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: model
  version: default
  rules:
    - actions: [predict]
      effect: EFFECT_ALLOW
      roles: [analyst]
      condition: { match: { expr: 'R.attr.org == P.attr.org' } }
    - actions: ['*']
      effect: EFFECT_DENY
      roles: ['*']
      condition: { match: { expr: 'R.id == "acme-secret"' } }
`
const program = findCerbos()

if (program === undefined) {
  t.comment(`Cerbos: skipped, there is none for ${process.platform} ${process.arch}`)
} else {
  t.test('Cerbos decides in place of the policy file', async (t) => {
    const folder = t.testdir({ policies: { 'model.yaml': rules } })
    const url = await startCerbos(t, program, path.join(folder, 'policies'))
    const policy = authzen({ url, timeoutMs: 5000, subjectProperties: (principal) => ({ ...subjectPropertiesOf(principal), 'cerbos.roles': principal.roles }) })
    const app = await guardedApp(t, guardOptions({ authorize: { policy, context: () => ({ environment: 'production' }) }, audit: await auditIn(folder) }))
    const predict = async (model: string, org: string, roles: readonly string[]): Promise<number> =>
      (await app.inject({ method: 'POST', url: `/models/${model}`, payload: {}, ...asPrincipal({ id: 'ann', org, roles }) })).statusCode
    t.equal(await predict('acme-fraud', 'acme', ['analyst']), 200)
    t.equal(await predict('acme-fraud', 'other', ['analyst']), 403)
    t.equal(await predict('acme-fraud', 'acme', ['viewer']), 403)
    t.equal(await predict('acme-fraud', 'acme', []), 403)
    t.equal(await predict('acme-secret', 'acme', ['analyst']), 403, 'a denial of its wins')
    t.equal(app.reached, 1)
    await app.close()
    const records = recordsIn(folder).filter(({ action }) => action === 'predict')
    t.same(records.map(({ status, policy: id }) => [status, id]), ['success', 'denied', 'denied', 'denied', 'denied'].map((status) => [status, `authzen:${url}/access/v1/evaluation`]))
  })

  t.test('Cerbos is what its own metadata says it is', async (t) => {
    const url = await startCerbos(t, program, path.join(t.testdir({ policies: { 'model.yaml': rules } }), 'policies'))
    const metadata: unknown = await (await fetch(`${url}/.well-known/authzen-configuration`)).json()
    t.match(metadata, { access_evaluation_endpoint: `${url}/access/v1/evaluation` }, 'at the default path, which is the one that is asked')
  })
}
