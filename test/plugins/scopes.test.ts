import { randomBytes } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey } from '../../src/authn/create-api-key.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { jwt } from '../../src/authn/jwt.ts'
import type { ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { auditIn, guardedApp, guardOptions, recordsIn } from '../helpers/guard.ts'
import { memberOf } from '../helpers/json.ts'
import { nowSeconds, testIssuer } from '../helpers/tokens.ts'

const pepper = randomBytes(32)
const analyst = { id: 'ann', tier: 'standard', org: 'acme', roles: ['analyst'] }

/** A guard that takes API keys, and one key of an analyst for each list of scopes. */
async function keysWith (t: Test, lists: readonly (readonly string[])[], folder = t.testdir()): Promise<{ options: Pick<ModelGuardOptions, 'authenticate'>, keys: string[] }> {
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper, onError: () => undefined })
  t.teardown(() => store.close())
  const keys: string[] = []
  for (const scopes of lists) keys.push((await createApiKey(store, pepper, { principal: { ...analyst, scopes } })).key)
  return { options: { authenticate: { authenticators: [apiKey({ store, pepper })] } }, keys }
}

t.test('a key with scopes does nothing beyond them, and nothing that its principal may not', async (t) => {
  const folder = t.testdir()
  const { options, keys: [free = '', fraud = '', read = '', all = ''] } = await keysWith(t, [[], ['model:predict:acme-fraud*'], ['model:read'], ['*:*']], folder)
  const app = await guardedApp(t, guardOptions({ ...options, audit: await auditIn(folder) }))
  const ask = async (key: string, model: string) => await app.inject({ method: 'POST', url: `/models/${model}`, headers: { 'x-api-key': key }, payload: {} })

  for (const [key, model] of [[free, 'acme-churn'], [fraud, 'acme-fraud'], [fraud, 'acme-fraud-eu'], [all, 'acme-churn']] as const) t.equal((await ask(key, model)).statusCode, 200, model)
  for (const [key, model] of [[fraud, 'acme-churn'], [read, 'acme-fraud']] as const) {
    const refused = await ask(key, model)
    t.match(refused, { statusCode: 403, headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="model:predict:${model}"` } })
    t.match(refused.json(), { code: 'FMG_ERR_ACCESS_DENIED', message: 'access denied' })
  }
  const denied = await ask(all, 'other-fraud')
  t.equal(denied.statusCode, 403, 'a scope permits nothing by itself')
  t.equal(denied.headers['www-authenticate'], undefined)
  t.match(await ask(fraud, 'a%22%20x'), { statusCode: 403, headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="model:predict"' } })
  t.equal((await app.inject({ url: '/known', headers: { 'x-api-key': fraud } })).body, 'ann', 'whom it is need not be in a scope')
  t.equal(app.reached, 4)

  await app.close()
  const records = recordsIn(folder)
  t.equal(records.filter(({ status, reason, rule }) => status === 'denied' && reason === 'insufficient-scope' && rule === undefined).length, 3)
  t.ok(records.some(({ action, detail }) => action === 'facts' && String(memberOf(memberOf(detail, 'principal'), 'limited_to')) === 'model:predict:acme-fraud*'))
})

t.test('in observe mode what lies beyond the scopes is noted, and passes', async (t) => {
  const { options, keys: [key = ''] } = await keysWith(t, [['model:read']])
  const app = await guardedApp(t, guardOptions({ ...options, mode: 'observe' }))
  app.post('/decided/:model', { config: { access: { action: 'predict', resource: { from: 'body', type: 'model', resolve: () => ({ type: 'model', id: 'fraud', attributes: {} }) } } } }, async (request) => request.decision)
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/decided/fraud', headers: { 'x-api-key': key }, payload: {} })
  t.equal(statusCode, 200)
  t.match(JSON.parse(body), { allowed: false, rule: null, reason: 'insufficient-scope' })
})

t.test('scopes of a token limit it where its issuer is read so', async (t) => {
  const home = testIssuer()
  const issuer = { issuer: home.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, claims: { org: 'org' }, grants: { orgs: ['acme'], roles: ['analyst'] }, tier: 'standard', jwks: { keys: [home.jwk] } }
  const ask = async (limitByScopes: boolean, scope: string): Promise<number> => {
    const app = await guardedApp(t, guardOptions({ authenticate: { authenticators: [jwt({ issuers: [{ ...issuer, limitByScopes }], clock: () => nowSeconds * 1000 })] } }))
    return (await app.inject({ method: 'POST', url: '/models/acme-1', payload: {}, headers: { authorization: `Bearer ${home.token({ org: 'acme', roles: ['analyst'], scope })}` } })).statusCode
  }
  t.equal(await ask(false, 'openid'), 200)
  t.equal(await ask(true, 'openid model:predict'), 200)
  for (const scope of ['openid', '', 'model:read', 'predict', 'model:predict:other-*']) t.equal(await ask(true, scope), 403, scope)
})
