import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { FastifyInstance, FastifyServerOptions, LightMyRequestResponse as Response } from 'fastify'
import type { Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey, type NewApiKey } from '../../src/authn/create-api-key.ts'
import { memoryDenyList, type MemoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { issuedTokens } from '../../src/authn/issued-tokens.ts'
import { jwt } from '../../src/authn/jwt.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { mtls } from '../../src/authn/mtls.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { memoryReplayStore } from '../../src/authn/replay-store.ts'
import type { RevocationList } from '../../src/authn/revocation-list.ts'
import type { TokenIssuer, TokenIssuerOptions } from '../../src/authn/token-issuer.ts'
import type { AuthenticateOptions } from '../../src/plugins/authenticate.ts'
import type { ModelGuardOptions } from '../../src/plugins/model-guard.ts'
import { tokenEndpoint, type TokenEndpointOptions } from '../../src/plugins/token-endpoint.ts'
import type { Issued } from './certificates.ts'
import { guardedApp, guardOptions, policy, policyText } from './guard.ts'
import { home, issuerAt } from './issuer.ts'
import { nowSeconds, testIssuer, type TestIssuer } from './tokens.ts'

export const start = nowSeconds * 1000

export interface TokenServerOptions {
  /** Default {@link start}. */
  readonly time?: { readonly now: number }
  readonly issuer?: Partial<TokenIssuerOptions>
  readonly endpoint?: Partial<TokenEndpointOptions>
  readonly authenticate?: Partial<AuthenticateOptions>
  readonly guard?: Partial<ModelGuardOptions>
  /** Whose certificates count, and their batch principal `batch` under the DNS name `batch.acme.example`. */
  readonly authority?: Issued
  readonly revocationList?: RevocationList
  readonly server?: FastifyServerOptions
  readonly graceSeconds?: number
}

export interface TokenServer {
  readonly app: FastifyInstance & { reached: number }
  readonly issuer: TokenIssuer
  readonly partner: TestIssuer
  readonly denyList: MemoryDenyList
  readonly store: KeyStore
  readonly pepper: Uint8Array
  /** Inner reasons of refusals. */
  readonly reasons: unknown[]
  /** A key of `ann`, analyst of acme. */
  readonly newKey: (more?: Partial<NewApiKey['principal']>, options?: Partial<NewApiKey>) => Promise<{ key: string, keyId: string }>
  /** Asks the token endpoint. */
  readonly ask: (form: Readonly<Record<string, string>> | string, headers?: Readonly<Record<string, string>>) => Promise<Response>
  readonly revoke: (token: string) => Promise<Response>
  /** Status of a prediction on a model of acme with this bearer token. */
  readonly predict: (token: string, options?: { readonly model?: string, readonly address?: string }) => Promise<number>
}

/** A guarded server that takes API keys, tokens of a partner and of its own, and certificates, and exchanges them all. */
export async function tokenServer (t: Test, options: TokenServerOptions = {}): Promise<TokenServer> {
  const { time = { now: start }, authority } = options
  const clock = (): number => time.now
  const pepper = randomBytes(32)
  const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-tokens-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  const partner = testIssuer('https://partner.example')
  const denyList = memoryDenyList(clock)
  const issuer = await issuerAt(t, time, { denyList, ...options.issuer })
  const dpop = { replayStore: memoryReplayStore({ clock }) }
  const keys = apiKey({ store, pepper, clock })
  const tokens = jwt({
    issuers: [{ issuer: partner.issuer, audiences: [home], algorithms: ['ES256'], jwks: { keys: [partner.jwk] }, tier: 'standard', claims: { org: 'org' }, grants: { orgs: ['acme'], roles: ['analyst'] }, limitByScopes: true }],
    denyList,
    dpop,
    clock
  })
  const certificates = authority === undefined ? [] : [mtls({ clock, authorities: [{ certificate: authority.certificate, revocationList: options.revocationList, identities: [{ dnsName: 'batch.acme.example', id: 'batch', org: 'acme' }] }] })]
  const authenticators = [keys, issuedTokens({ issuer, sources: [keys, tokens, ...certificates], dpop, clock }), tokens, ...certificates]
  const text = `${policyText}\nassignments:\n  - principal: { id: batch }\n    roles: [analyst]\n`
  const app = await guardedApp(t, guardOptions({ authenticate: { authenticators, failedAttempts: { maxDelayMs: 0 }, ...options.authenticate }, authorize: { policy: policy(text) }, ...options.guard }), options.server)
  t.teardown(() => store.close())
  const families = refreshFamilies({ store: memoryRefreshStore(), clock, graceSeconds: options.graceSeconds })
  await app.register(tokenEndpoint, { issuer, families, dpop, clock, ...options.endpoint })
  const reasons: unknown[] = []
  app.addHook('onError', async (_request, _reply, error) => { reasons.push(Reflect.get(error, 'reason') ?? error.code) })
  const post = async (url: string, form: Readonly<Record<string, string>> | string, headers: Readonly<Record<string, string>> = {}): Promise<Response> =>
    await app.inject({ method: 'POST', url, payload: typeof form === 'string' ? form : new URLSearchParams(form).toString(), headers: { 'content-type': 'application/x-www-form-urlencoded', host: 'models.example', ...headers } })
  return {
    app,
    issuer,
    partner,
    denyList,
    store,
    pepper,
    reasons,
    newKey: async (more = {}, wanted = {}) => await createApiKey(store, pepper, { principal: { id: 'ann', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], ...more }, ...wanted }, { now: time.now }),
    ask: async (form, headers) => await post('/oauth/token', form, headers),
    revoke: async (token) => await post('/oauth/revoke', { token }),
    predict: async (token, { model = 'acme-1', address = '192.0.2.1' } = {}) =>
      (await app.inject({ method: 'POST', url: `/models/${model}`, payload: { x: 1 }, headers: { authorization: `Bearer ${token}` }, remoteAddress: address })).statusCode
  }
}

/** Form of an exchange of this credential (RFC 8693 section 2.1). */
export function exchangeOf (token: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  const type = token.startsWith('fmg_') ? 'urn:fastify-model-guard:token-type:api-key' : 'urn:ietf:params:oauth:token-type:access_token'
  return { grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange', subject_token: token, subject_token_type: type, ...more }
}
