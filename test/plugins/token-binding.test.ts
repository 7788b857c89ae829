import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { rename, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import { calculateJwkThumbprint, decodeJwt } from 'jose'
import * as oauth from 'oauth4webapi'
import { allowInsecureRequests } from 'oauth4webapi'
import t, { type Test } from 'tap'
import { fileRevocationList } from '../../src/authn/file-revocation-list.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import { mutualTls } from '../../src/plugins/mutual-tls.ts'
import { namesOf, revoke, type Issued } from '../helpers/certificates.ts'
import { textOf } from '../helpers/json.ts'
import { asPem, issueNow, listen, server, serverAuthority } from '../helpers/tls.ts'
import { exchangeOf, tokenServer, type TokenServer, type TokenServerOptions } from '../helpers/token-server.ts'
import { nowSeconds, signed } from '../helpers/tokens.ts'

const insecure = { [allowInsecureRequests]: true }
const client: oauth.Client = { client_id: 'notebook' }
const realTime = { get now () { return Date.now() } }
const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** What a promise is rejected with. */
async function failure (asked: Promise<unknown>): Promise<unknown> {
  return await asked.then(() => null, (error: unknown) => error)
}

async function freePort (): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

/** The server on a port of loopback, by the real clock, as a client finds it. */
async function listening (t: Test): Promise<TokenServer & { readonly url: string, readonly as: oauth.AuthorizationServer }> {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const made = await tokenServer(t, { time: realTime, issuer: { issuer: url } })
  await made.app.listen({ port, host: '127.0.0.1' })
  const found = await oauth.discoveryRequest(new URL(url), { algorithm: 'oauth2', ...insecure })
  return { ...made, url, as: await oauth.processDiscoveryResponse(new URL(url), found) }
}

t.test('a client library finds the server, exchanges a key with a proof, refreshes, and revokes', async (t) => {
  const { url, as, newKey } = await listening(t)
  const { key } = await newKey()
  const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
  const other = oauth.DPoP(client, await oauth.generateKeyPair('Ed25519'))
  const parameters = { subject_token: key, subject_token_type: 'urn:fastify-model-guard:token-type:api-key', scope: 'model:predict offline_access' }
  const exchanged = await oauth.processGenericTokenEndpointResponse(as, client, await oauth.genericTokenEndpointRequest(as, client, oauth.None(), grantType, parameters, { DPoP, ...insecure }))
  t.match(exchanged, { token_type: 'dpop', scope: 'model:predict', expires_in: Number })

  const sent: Request[] = []
  const predict = async (token: string, options: oauth.ProtectedResourceRequestOptions): Promise<number> => {
    const response = await oauth.protectedResourceRequest(token, 'POST', new URL(`${url}/models/acme-1`), new Headers({ 'content-type': 'application/json' }), '{"x":1}', {
      ...options,
      ...insecure,
      [oauth.customFetch]: async (target, { body, ...init }) => {
        sent.push(new Request(target, init))
        return await fetch(target, { ...init, body: '{"x":1}' })
      }
    })
    return response.status
  }
  const refused = async (options: oauth.ProtectedResourceRequestOptions): Promise<void> => {
    t.match(await failure(predict(exchanged.access_token, options)), { status: 401 })
  }
  t.equal(await predict(exchanged.access_token, { DPoP }), 200)
  t.match(await oauth.validateJwtAccessToken(as, sent[0] ?? new Request(url), url, insecure), { sub: 'ann', scope: 'model:predict' }, 'a second opinion')
  t.equal(await predict(exchanged.access_token, { DPoP }), 200, 'remembered')
  await refused({})
  await refused({ DPoP: other })

  const refreshWith = async (options: oauth.TokenEndpointRequestOptions): Promise<oauth.TokenEndpointResponse> =>
    await oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, oauth.None(), textOf(exchanged.refresh_token), { ...options, ...insecure }))
  t.match(await failure(refreshWith({})), { error: 'invalid_grant' })
  t.match(await failure(refreshWith({ DPoP: other })), { error: 'invalid_grant' })
  const refreshed = await refreshWith({ DPoP })
  t.equal(await predict(refreshed.access_token, { DPoP }), 200, 'who had not the key used nothing up')

  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), refreshed.access_token, insecure))
  t.match(await failure(predict(refreshed.access_token, { DPoP })), { status: 401 })
  t.equal(await predict(exchanged.access_token, { DPoP }), 200)
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), textOf(refreshed.refresh_token), insecure))
  t.match(await failure(predict(exchanged.access_token, { DPoP })), { status: 401 })
})

interface Holder {
  readonly thumbprint: string
  /** A proof of this key for the token endpoint, with these claims changed. */
  readonly proof: (jti: string, claims?: object, header?: object) => string
}

async function holder (): Promise<Holder> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    thumbprint: await calculateJwkThumbprint(publicKey, 'sha256'),
    proof: (jti, claims = {}, header = {}) => signed(privateKey, { alg: 'ES256', typ: 'dpop+jwt', jwk: publicJwk(publicKey), ...header }, { htm: 'POST', htu: 'http://models.example/oauth/token', iat: nowSeconds, jti, ...claims })
  }
}

const publicJwk = (key: KeyObject): object => key.export({ format: 'jwk' })
const tokenOf = (response: { json: () => unknown }): string => textOf(Reflect.get(Object(response.json()), 'access_token'))
const refreshOf = (response: { json: () => unknown }): string => textOf(Reflect.get(Object(response.json()), 'refresh_token'))

t.test('a proof is held against the request that it came with, and binds what is issued', async (t) => {
  const { ask, newKey, reasons } = await tokenServer(t, { authenticate: { failedAttempts: { maxById: 100, maxDelayMs: 0 } } })
  const { key } = await newKey()
  const { proof, thumbprint } = await holder()
  const bound = await ask(exchangeOf(key), { dpop: proof('a') })
  t.match(bound.json(), { token_type: 'DPoP' })
  t.same(decodeJwt(tokenOf(bound)).cnf, { jkt: thumbprint })
  t.same(decodeJwt(tokenOf(await ask({ grant_type: 'client_credentials' }, { 'x-api-key': key, dpop: proof('b') }))).cnf, { jkt: thumbprint })
  const bad: readonly (readonly [string, string])[] = [
    [proof('a'), 'dpop-replayed'],
    [proof('c', { htu: 'http://models.example/models/acme-1' }), 'dpop-url'],
    [proof('d', { htm: 'GET' }), 'dpop-method'],
    [proof('e', { iat: nowSeconds - 61 }), 'dpop-time'],
    [proof('f', {}, { typ: 'JWT' }), 'dpop-type'],
    [proof('g', {}, { jwk: publicJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey) }), 'dpop-malformed'],
    ['x', 'dpop-malformed']
  ]
  for (const [dpop, reason] of bad) {
    for (const response of [await ask(exchangeOf(key), { dpop }), await ask({ grant_type: 'client_credentials' }, { 'x-api-key': key, dpop })]) {
      t.match(response, { statusCode: 400 })
      t.match(response.json(), { error: 'invalid_dpop_proof' })
      t.equal(reasons.at(-1), reason)
    }
  }
  const without = await tokenServer(t, { endpoint: { dpop: undefined } })
  t.match((await without.ask(exchangeOf((await without.newKey()).key), { dpop: proof('h') })).json(), { error: 'invalid_dpop_proof' })
})

t.test('what is bound to a key is exchanged by its holder alone, and stays bound', async (t) => {
  const { ask, partner, newKey, reasons } = await tokenServer(t)
  const [mine, other] = [await holder(), await holder()]
  const own = tokenOf(await ask(exchangeOf((await newKey()).key), { dpop: mine.proof('a') }))
  const partners = partner.token({ org: 'acme', roles: ['analyst'], scope: 'model:predict', cnf: { jkt: mine.thumbprint } })
  for (const [index, token] of [own, partners].entries()) {
    const exchanged = await ask(exchangeOf(token), { dpop: mine.proof(`b${index}`) })
    t.same(decodeJwt(tokenOf(exchanged)).cnf, { jkt: mine.thumbprint })
    for (const headers of [undefined, { dpop: other.proof(`c${index}`) }]) {
      t.equal((await ask(exchangeOf(token), headers)).statusCode, 400)
      t.equal(reasons.at(-1), 'token-other-key')
    }
  }
  const ath = (token: string): string => createHash('sha256').update(token).digest('base64url')
  const inHeader = await ask({ grant_type: 'client_credentials' }, { authorization: `DPoP ${own}`, dpop: mine.proof('d', { ath: ath(own) }) })
  t.same(decodeJwt(tokenOf(inHeader)).cnf, { jkt: mine.thumbprint }, 'the proof that the token came with')
  t.equal((await ask({ grant_type: 'client_credentials' }, { authorization: `DPoP ${own}`, dpop: mine.proof('e') })).statusCode, 400, 'a proof without the token')
  t.equal((await ask({ grant_type: 'client_credentials' }, { authorization: `Bearer ${own}`, dpop: mine.proof('f') })).statusCode, 401, 'a bound token as bearer token')
})

t.test('a server that asks for nonces is asked again with one, and gives the next before it ends', async (t) => {
  const time = { now: nowSeconds * 1000 }
  const { ask, newKey } = await tokenServer(t, { time, endpoint: { dpop: { replayStore: memoryReplayStore({ clock: () => time.now }), nonce: { lifetimeSeconds: 60 } } } })
  const { key } = await newKey()
  const { proof } = await holder()
  const nonceOf = (response: { headers: Readonly<Record<string, unknown>> }): string => textOf(response.headers['dpop-nonce'])
  for (const asked of [await ask(exchangeOf(key), { dpop: proof('a') }), await ask({ grant_type: 'client_credentials' }, { 'x-api-key': key, dpop: proof('a', { nonce: 'x' }) })]) {
    t.equal(asked.statusCode, 400)
    t.match(asked.json(), { error: 'use_dpop_nonce' })
    t.ok(nonceOf(asked))
  }
  const nonce = nonceOf(await ask(exchangeOf(key), { dpop: proof('a') }))
  const first = await ask(exchangeOf(key, { scope: 'offline_access' }), { dpop: proof('a', { nonce }) })
  t.equal(first.statusCode, 200, 'what was asked for a nonce is not used up')
  t.equal(first.headers['dpop-nonce'], undefined)
  time.now += 60_000
  const late = { iat: nowSeconds + 60, nonce }
  for (const answer of [
    await ask(exchangeOf(key), { dpop: proof('b', late) }),
    await ask({ grant_type: 'client_credentials' }, { 'x-api-key': key, dpop: proof('c', late) }),
    await ask({ grant_type: 'refresh_token', refresh_token: refreshOf(first) }, { dpop: proof('d', late) })
  ]) {
    t.equal(answer.statusCode, 200)
    t.not(nonceOf(answer), nonce)
  }
})

const authority = issueNow({ subject: 'clients', isAuthority: true })
const batch = (more: object = {}): Issued => issueNow({ subject: 'client', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf('batch.acme.example'), ...more })

interface Answer {
  readonly status: number
  readonly json: () => unknown
}

/** The server behind real TLS, that asks clients for certificates. */
async function secured (t: Test, more: TokenServerOptions = {}): Promise<TokenServer & { readonly post: (path: string, body: Readonly<Record<string, string>>, from?: Issued, headers?: Readonly<Record<string, string>>) => Promise<Answer> }> {
  const { key, cert } = asPem(server)
  const https = mutualTls({ key, certificate: cert, clientAuthorities: [authority.certificate] })
  const made = await tokenServer(t, { time: realTime, authority, server: { https } as object, ...more })
  const port = await listen(made.app)
  return {
    ...made,
    async post (path, body, from, headers = {}) {
      const isForm = path.startsWith('/oauth/')
      const asked = request({ host: '127.0.0.1', port, path, method: 'POST', servername: 'localhost', ca: serverAuthority.certificate.toString(), ...from === undefined ? {} : asPem(from), agent: false, headers: { 'content-type': isForm ? 'application/x-www-form-urlencoded' : 'application/json', ...headers } })
      asked.end(isForm ? new URLSearchParams(body).toString() : JSON.stringify(body))
      const [response] = await once(asked, 'response') as [IncomingMessage]
      const answer = await text(response)
      return { status: response.statusCode ?? 0, json: () => JSON.parse(answer) as unknown }
    }
  }
}

const own = { grant_type: 'client_credentials' }
const bearer = (token: string): Readonly<Record<string, string>> => ({ authorization: `Bearer ${token}` })

t.test('a token of a certificate counts on connections of that certificate alone', async (t) => {
  const { post, reasons } = await secured(t)
  const [mine, renewed] = [batch(), batch()]
  const answer = await post('/oauth/token', own, mine)
  t.equal(answer.status, 200)
  const token = tokenOf(answer)
  t.match(decodeJwt(token), { sub: 'batch', org: 'acme', roles: [], cnf: { 'x5t#S256': /^[\w-]{43}$/ } })
  for (const when of ['verified', 'recalled']) t.equal((await post('/models/acme-1', { x: '1' }, mine, bearer(token))).status, 200, when)
  t.equal((await post('/models/acme-1', { x: '1' }, renewed, bearer(token))).status, 401)
  t.equal((await post('/models/acme-1', { x: '1' }, undefined, bearer(token))).status, 401)
  t.same(reasons, ['token-source-over', 'token-source-over'])
  const exchanged = await post('/oauth/token', exchangeOf(token), mine)
  t.same(decodeJwt(tokenOf(exchanged)).cnf, decodeJwt(token).cnf, 'a token of it, too')
  t.equal((await post('/oauth/token', exchangeOf(token), renewed)).status, 400)
  t.equal((await post('/oauth/token', own, batch({ names: namesOf('other.example') }))).status, 401)
})

t.test('whoever has a certificate beside a key has both bound, and needs it to refresh', async (t) => {
  const { post, newKey } = await secured(t)
  const { key } = await newKey()
  const [mine, other] = [batch(), batch()]
  const answer = await post('/oauth/token', exchangeOf(key, { scope: 'offline_access' }), mine)
  const token = tokenOf(answer)
  t.match(decodeJwt(token), { sub: 'ann', cnf: { 'x5t#S256': /^[\w-]{43}$/ } })
  t.equal((await post('/models/acme-1', { x: '1' }, mine, bearer(token))).status, 200)
  for (const from of [other, undefined]) t.equal((await post('/models/acme-1', { x: '1' }, from, bearer(token))).status, 401)
  const form = { grant_type: 'refresh_token', refresh_token: refreshOf(answer) }
  for (const from of [other, undefined]) t.match((await post('/oauth/token', form, from)).json(), { error: 'invalid_grant' })
  const refreshed = await post('/oauth/token', form, mine)
  t.same(decodeJwt(tokenOf(refreshed)).cnf, decodeJwt(token).cnf)
  t.equal((await post('/models/acme-1', { x: '1' }, mine, bearer(tokenOf(refreshed)))).status, 200)
})

t.test('a certificate that is taken back takes its tokens along, also to refresh', async (t) => {
  const file = path.join(t.testdir(), 'clients.crl')
  await writeFile(file, revoke(authority))
  const revocationList = await fileRevocationList({ file, authority: authority.certificate })
  t.teardown(() => revocationList.close())
  const { post } = await secured(t, { revocationList })
  const serial = Buffer.from([1, 2, 3])
  const mine = batch({ serial })
  const answer = await post('/oauth/token', { ...own, scope: 'offline_access' }, mine)
  t.equal((await post('/models/acme-1', { x: '1' }, mine, bearer(tokenOf(answer)))).status, 200)
  await writeFile(`${file}.new`, revoke(authority, { serials: [serial] }))
  await rename(`${file}.new`, file)
  while (!revocationList.isRevoked('010203')) await new Promise((resolve) => { setImmediate(resolve) })
  t.equal((await post('/models/acme-1', { x: '1' }, mine, bearer(tokenOf(answer)))).status, 401)
  t.match((await post('/oauth/token', { grant_type: 'refresh_token', refresh_token: refreshOf(answer) }, mine)).json(), { error: 'invalid_grant' })
})
