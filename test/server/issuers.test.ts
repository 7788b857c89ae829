import t, { type Test } from 'tap'
import { listen } from '../helpers/listen.ts'
import { testIssuer, type TestIssuer } from '../helpers/tokens.ts'
import { startServer } from '../helpers/server.ts'

/** An issuer that publishes its key on this machine. */
async function issuerOf (t: Test): Promise<{ readonly issuer: TestIssuer, readonly stop: () => void }> {
  const published: { issuer?: TestIssuer } = {}
  const { url, stop } = await listen(t, (request, response) => {
    const answers: Record<string, unknown> = {
      '/.well-known/openid-configuration': { issuer: published.issuer?.issuer, jwks_uri: `${String(published.issuer?.issuer)}/jwks` },
      '/jwks': { keys: [published.issuer?.jwk] }
    }
    response.end(JSON.stringify(answers[String(request.url)]))
  })
  published.issuer = testIssuer(url)
  return { issuer: published.issuer, stop }
}

const now = (): number => Math.floor(Date.now() / 1000)
const lasting = (): Record<string, number> => ({ iat: now() - 10, exp: now() + 290 })
const body = JSON.stringify({ inputs: [{ name: 'image', shape: [1, 64], datatype: 'FP32', data: Array.from({ length: 64 }, () => 0) }] })

t.test('a token gives what its issuer may grant, beside API keys', async (t) => {
  const { issuer } = await issuerOf(t)
  const options = { issuer: issuer.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, tier: 'standard', claims: { org: 'org' }, grants: { orgs: ['acme'], roles: ['analyst'] } }
  const { url, keys } = await startServer(t, { issuers: [options] })
  const ask = async (credential: string): Promise<number> => {
    const response = await fetch(`${url}/v2/models/digits/infer`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${credential}` }, body })
    await response.text()
    return response.status
  }
  const roles = { ...lasting(), org: 'acme', roles: ['analyst', 'admin'] }
  t.same([await ask(keys.analyst), await ask(issuer.token(roles))], [200, 200])
  t.equal(await ask(issuer.token({ ...roles, roles: ['admin'] })), 403, 'a role that the issuer may not grant is none')
  t.equal(await ask(issuer.token({ ...roles, org: 'other' })), 401, 'nor may it speak of other organisations')
  t.equal(await ask(testIssuer('https://other.example').token(roles)), 401)
  const answer = await fetch(`${url}/admin/keys`, { headers: { authorization: `Bearer ${issuer.token(roles)}` } })
  t.equal(answer.status, 403, 'an analyst looks after no keys, whatever the token says')
})

t.test('an issuer that is down is a 503, and API keys go on', async (t) => {
  const { issuer, stop } = await issuerOf(t)
  stop()
  const options = { issuer: issuer.issuer, audiences: ['https://models.example'], algorithms: ['ES256'] as const, tier: 'standard' }
  const { url, keys } = await startServer(t, { issuers: [options] })
  const status = async (credential: string): Promise<number> => (await fetch(`${url}/v2`, { headers: { authorization: `Bearer ${credential}` } })).status
  t.equal(await status(issuer.token(lasting())), 503)
  t.equal(await status(keys.analyst), 200)
})

t.test('an issuer that is not understood stops the start, by its place', async (t) => {
  await t.rejects(startServer(t, { issuers: [{ issuer: 'https://issuer.example', audiences: [], algorithms: ['ES256'], tier: 'standard' }] }), { code: 'FMG_ERR_OPTION_INVALID', message: /jwt\.issuers\[0\]\.audiences/ })
})
