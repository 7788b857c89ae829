import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { SignJWT } from 'jose'
import type { Test } from 'tap'
import { vaultProgram } from '../../scripts/vault.js'
import type { SecretSource } from '../../src/secrets/secret-source.ts'
import { freePort } from './cerbos.ts'
import { arrayOf, memberOf, textOf } from './json.ts'
import { listen, textIn } from './listen.ts'

/** Where a Vault is, and who may do all there. */
export interface VaultAddress {
  readonly url: string
  readonly rootToken: string
}

/** A Vault with an engine of each kind, the policy `model-guard`, and a role of that name for each way of logging in. */
export interface PreparedVault extends VaultAddress {
  readonly admin: (method: string, path: string, body?: object) => Promise<unknown>
  readonly newSecretId: (uses?: number) => Promise<string>
  readonly roleId: string
  /** What both the `jwt` role and the `kubernetes` role take. */
  readonly jwt: string
  readonly newToken: (seconds: number, more?: object) => Promise<string>
  /** How many tokens there are. */
  readonly count: () => Promise<number>
  /** All but the root's. */
  readonly revokeAll: () => Promise<void>
}

/** The least that a server needs which reads one secret and opens models with one key. */
export const leastPolicy = `path "secret/data/model-guard" { capabilities = ["read"] }
path "transit/encrypt/model" { capabilities = ["update"] }
path "transit/decrypt/model" { capabilities = ["update"] }`

/** A secret that is there already. */
export function given (text: string): SecretSource {
  return { read: async () => Buffer.from(text) }
}

/** A real Vault or OpenBao of this machine, until the test ends; `undefined` where there is none. */
export async function startVault (t: Test): Promise<VaultAddress | undefined> {
  const program = vaultProgram()
  if (program === undefined) return undefined
  const rootToken = `root-${randomBytes(12).toString('hex')}`
  const address = `127.0.0.1:${await freePort()}`
  const words = ['server', '-dev', '-dev-no-store-token', `-dev-root-token-id=${rootToken}`, `-dev-listen-address=${address}`]
  const child = spawn(program, words, { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: t.testdir() } })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const url = `http://${address}`
  while (!await fetch(`${url}/v1/sys/health`).then(({ ok }) => ok, () => false)) await new Promise((resolve) => { setImmediate(resolve) })
  return { url, rootToken }
}

export async function prepareVault (t: Test, { url, rootToken }: VaultAddress): Promise<PreparedVault> {
  async function admin (method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${url}/v1/${path}`, { method, headers: { 'x-vault-token': rootToken, 'x-vault-request': 'true' }, ...body && { body: JSON.stringify(body) } })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwt = await serviceAccountToken(keys.privateKey)
  const granted = { token_policies: ['model-guard'], token_ttl: 3600, token_max_ttl: 7200 }
  const calls: readonly (readonly [path: string, body: object])[] = [
    ['sys/policies/acl/model-guard', { policy: leastPolicy }],
    ['sys/mounts/transit', { type: 'transit' }],
    ['transit/keys/model', { type: 'aes256-gcm96' }],
    ['transit/keys/other', { type: 'aes256-gcm96' }],
    ['transit/keys/rsa', { type: 'rsa-2048' }],
    ['secret/data/model-guard', { data: { pepper: 'sesame', size: 7, empty: '' } }],
    ...['approle', 'jwt', 'kubernetes'].map((type) => [`sys/auth/${type}`, { type }] as const),
    ['auth/approle/role/model-guard', granted],
    ['auth/jwt/config', { jwt_validation_pubkeys: [keys.publicKey.export({ type: 'spki', format: 'pem' })] }],
    ['auth/jwt/role/model-guard', { ...granted, role_type: 'jwt', bound_audiences: ['vault'], user_claim: 'sub' }],
    ['auth/kubernetes/config', { kubernetes_host: await tokenReviewer(t, jwt), token_reviewer_jwt: jwt, disable_local_ca_jwt: true }],
    ['auth/kubernetes/role/model-guard', { ...granted, bound_service_account_names: ['server'], bound_service_account_namespaces: ['models'], audience: 'vault' }]
  ]
  for (const [path, body] of calls) await admin('POST', path, body)
  const accessors = async (): Promise<readonly unknown[]> => arrayOf(memberOf(memberOf(await admin('GET', 'auth/token/accessors?list=true'), 'data'), 'keys'))
  const own = await accessors()
  return {
    url,
    rootToken,
    admin,
    jwt,
    roleId: textOf(memberOf(memberOf(await admin('GET', 'auth/approle/role/model-guard/role-id'), 'data'), 'role_id')),
    newSecretId: async (uses = 0) => textOf(memberOf(memberOf(await admin('POST', 'auth/approle/role/model-guard/secret-id', { num_uses: uses }), 'data'), 'secret_id')),
    newToken: async (seconds, more = {}) => textOf(memberOf(memberOf(await admin('POST', 'auth/token/create', { ttl: `${seconds}s`, policies: ['model-guard'], ...more }), 'auth'), 'client_token')),
    count: async () => (await accessors()).length,
    revokeAll: async () => {
      for (const accessor of await accessors()) if (!own.includes(accessor)) await admin('POST', 'auth/token/revoke-accessor', { accessor })
    }
  }
}

/** What Kubernetes projects into a pod (kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin). */
async function serviceAccountToken (key: Parameters<SignJWT['sign']>[0]): Promise<string> {
  return await new SignJWT({ 'kubernetes.io': { namespace: 'models', serviceaccount: { name: 'server', uid: 'u-1' } } })
    .setProtectedHeader({ alg: 'ES256' }).setIssuer('https://kubernetes.default.svc').setSubject('system:serviceaccount:models:server')
    .setAudience(['vault']).setIssuedAt().setExpirationTime('1h').sign(key)
}

/** The TokenReview of an API server (authentication.k8s.io/v1), which knows one token. */
async function tokenReviewer (t: Test, token: string): Promise<string> {
  const { url } = await listen(t, (request, response) => {
    void (async () => {
      const authenticated = memberOf(memberOf(JSON.parse(await textIn(request)), 'spec'), 'token') === token
      const user = { username: 'system:serviceaccount:models:server', uid: 'u-1', groups: ['system:serviceaccounts'] }
      response.writeHead(201, { 'content-type': 'application/json' })
        .end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', status: authenticated ? { authenticated, user, audiences: ['vault'] } : { authenticated } }))
    })()
  })
  return url
}
