import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { listen, textIn } from './listen.ts'
import { fromBase64, memberOf, textOf } from './json.ts'

/** What was asked of a double: method and path. */
export type Asked = string

export interface VaultDouble {
  readonly url: string
  readonly stop: () => void
  readonly rootToken: string
  readonly asked: Asked[]
  /** What is answered instead of what would be, while it is there. */
  instead: ((path: string) => { readonly status: number, readonly body: string } | undefined) | undefined
  /** Milliseconds by which its clock is ahead. */
  ahead: number
}

interface Token {
  readonly isRoot: boolean
  readonly mayLookUp: boolean
  readonly seconds: number
  readonly diesAt: number
  readonly accessor: string
  readonly isRenewable: boolean
  endsAt: number
}

/** An answer: 204 when there is nothing to say. */
type Answer = readonly [status: number, body?: object]

interface Question {
  readonly token: Token | undefined
  readonly id: string
  readonly names: readonly string[]
  readonly body: unknown
}

const refused: Answer = [403, { errors: ['permission denied'] }]

/**
 * What Vault and OpenBao document of the paths that this package asks (openbao.org/api-docs: auth/token, auth/approle, auth/jwt, auth/kubernetes,
 * secret/transit, secret/kv/kv-v2), with one policy, `model-guard`, and errors that quote what was sent. The suite that it passes is passed by a real one.
 */
export async function vaultDouble (t: Test, namespace?: string): Promise<VaultDouble> {
  const tokens = new Map<string, Token>()
  const keys = new Map<string, { readonly type: string, readonly versions: Buffer[] }>()
  const secrets = new Map<string, unknown[]>()
  const roles = new Map<string, { readonly seconds: number, readonly maxSeconds: number }>()
  const secretIds = new Map<string, { uses: number }>()
  const now = (): number => Date.now() + double.ahead

  function grant (seconds: number, { isRoot = false, mayLookUp = true, maxSeconds = 86_400, isRenewable = true } = {}): Answer {
    const id = `hvs.${randomBytes(18).toString('base64url')}`
    const token = { isRoot, mayLookUp, seconds, accessor: randomBytes(9).toString('hex'), isRenewable, diesAt: now() + maxSeconds * 1000, endsAt: now() + Math.min(seconds, maxSeconds) * 1000 }
    tokens.set(id, token)
    return [200, { request_id: 'r', lease_id: '', warnings: null, auth: { client_token: id, accessor: token.accessor, policies: ['default'], lease_duration: Math.min(seconds, maxSeconds), renewable: isRenewable } }]
  }

  function login (role: unknown, isGood: boolean): Answer {
    const { seconds, maxSeconds } = roles.get(String(role)) ?? { seconds: 0, maxSeconds: 0 }
    return isGood && seconds > 0 ? grant(seconds, { maxSeconds }) : [400, { errors: [`invalid role or secret: ${JSON.stringify(role)}`] }]
  }

  function crypt (name: string, body: unknown, work: (versions: Buffer[], associatedData: Buffer) => Answer): Answer {
    const key = keys.get(name)
    if (key === undefined) return [400, { errors: ['encryption key not found'] }]
    if (key.type === 'rsa-2048') return [400, { errors: ['\'[0].associated_data\' provided for non-AEAD cipher suite rsa-2048'] }]
    try {
      return work(key.versions, fromBase64(memberOf(body, 'associated_data')))
    } catch (error) {
      return [400, { errors: [`${String(error)} in ${JSON.stringify(body)}`] }]
    }
  }

  // Paths as documented; `*` is one name, `**` all that follow. `open`: without a token.
  const routes: readonly (readonly [method: string, path: string, right: 'open' | 'any' | 'model-guard' | 'root', answer: (question: Question) => Answer])[] = [
    ['POST', 'auth/approle/login', 'open', ({ body }) => {
      const secretId = secretIds.get(String(memberOf(body, 'secret_id')))
      return login(memberOf(body, 'role_id'), secretId !== undefined && secretId.uses-- > 0)
    }],
    ['POST', 'auth/kubernetes/login', 'open', ({ body }) => login(memberOf(body, 'role'), isJwt(memberOf(body, 'jwt')))],
    ['POST', 'auth/jwt/login', 'open', ({ body }) => login(memberOf(body, 'role'), isJwt(memberOf(body, 'jwt')))],
    ['GET', 'auth/token/lookup-self', 'any', ({ token }) => token?.mayLookUp === true ? [200, { data: { ttl: token.endsAt === Infinity ? 0 : Math.floor((token.endsAt - now()) / 1000), ...token.isRoot ? {} : { renewable: token.isRenewable } } }] : refused],
    ['POST', 'auth/token/renew-self', 'any', ({ token, id }) => {
      if (token?.isRenewable !== true) return [400, { errors: ['lease is not renewable'] }]
      token.endsAt = Math.min(token.diesAt, now() + token.seconds * 1000)
      return [200, { auth: { client_token: id, lease_duration: Math.floor((token.endsAt - now()) / 1000), renewable: true } }]
    }],
    ['POST', 'auth/token/revoke-self', 'any', ({ id }) => {
      tokens.delete(id)
      return [204]
    }],
    ['GET', 'secret/data/**', 'model-guard', ({ names: [path = ''] }) => {
      const versions = secrets.get(path)
      return versions === undefined ? [404, { errors: [] }] : [200, { data: { data: versions.at(-1), metadata: { version: versions.length, created_time: '2026-01-02T03:04:05.678Z', deletion_time: '', destroyed: false } } }]
    }],
    ['POST', 'transit/encrypt/*', 'model-guard', ({ names: [name = ''], body }) => crypt(name, body, (versions, associatedData) => {
      const cipher = createCipheriv('aes-256-gcm', versions.at(-1) ?? '', Buffer.alloc(12, versions.length)).setAAD(associatedData)
      const text = Buffer.concat([cipher.update(fromBase64(memberOf(body, 'plaintext'))), cipher.final(), cipher.getAuthTag()])
      return [200, { data: { ciphertext: `vault:v${versions.length}:${text.toString('base64')}`, key_version: versions.length } }]
    })],
    ['POST', 'transit/decrypt/*', 'model-guard', ({ names: [name = ''], body }) => crypt(name, body, (versions, associatedData) => {
      const [, version = '', text = ''] = /^vault:v(\d+):(.*)$/.exec(textOf(memberOf(body, 'ciphertext'))) ?? []
      const bytes = fromBase64(text)
      const decipher = createDecipheriv('aes-256-gcm', versions[Number(version) - 1] ?? '', Buffer.alloc(12, Number(version))).setAAD(associatedData).setAuthTag(bytes.subarray(-16))
      return [200, { data: { plaintext: Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]).toString('base64') } }]
    })],
    ['POST', 'transit/keys/*', 'root', ({ names: [name = ''], body }) => {
      keys.set(name, { type: String(memberOf(body, 'type')), versions: [randomBytes(32)] })
      return [204]
    }],
    ['POST', 'transit/keys/*/rotate', 'root', ({ names: [name = ''] }) => {
      keys.get(name)?.versions.push(randomBytes(32))
      return [204]
    }],
    ['POST', 'secret/data/**', 'root', ({ names: [path = ''], body }) => {
      secrets.set(path, [...secrets.get(path) ?? [], memberOf(body, 'data')])
      return [200, { data: {} }]
    }],
    ['POST', 'auth/*/role/*', 'root', ({ names: [, role = ''], body }) => {
      roles.set(role, { seconds: Number(memberOf(body, 'token_ttl')), maxSeconds: Number(memberOf(body, 'token_max_ttl')) })
      return [204]
    }],
    ['GET', 'auth/approle/role/*/role-id', 'root', ({ names: [role] }) => [200, { data: { role_id: role } }]],
    ['POST', 'auth/approle/role/*/secret-id', 'root', ({ body }) => {
      const id = randomBytes(16).toString('hex')
      secretIds.set(id, { uses: Number(memberOf(body, 'num_uses')) || Infinity })
      return [200, { data: { secret_id: id } }]
    }],
    ['POST', 'auth/token/create', 'root', ({ body }) => grant(Number.parseInt(textOf(memberOf(body, 'ttl')), 10), { mayLookUp: memberOf(body, 'no_default_policy') !== true, isRenewable: memberOf(body, 'renewable') !== false })],
    ['GET', 'auth/token/accessors?list=true', 'root', () => [200, { data: { keys: [...tokens.values()].filter(({ endsAt }) => endsAt > now()).map(({ accessor }) => accessor) } }]],
    ['POST', 'auth/token/revoke-accessor', 'root', ({ body }) => {
      for (const [id, { accessor }] of tokens) if (accessor === memberOf(body, 'accessor')) tokens.delete(id)
      return [204]
    }],
    ['POST', 'sys/**', 'root', () => [204]],
    ['POST', 'auth/*/config', 'root', () => [204]]
  ]

  function answer (method: string, path: string, id: string, body: unknown): Answer {
    const token = tokens.get(id)
    const isAlive = token !== undefined && token.endsAt > now()
    for (const [wanted, pattern, right, give] of routes) {
      const found = new RegExp(`^${pattern.replace('?', '\\?').replace(/\*\*|\*/g, (stars) => stars === '**' ? '(.+)' : '([^/]+)')}$`).exec(path)
      if (found === null || wanted !== method) continue
      const names = found.slice(1).map(decodeURIComponent)
      const isAllowed = right === 'open' || (isAlive && (right === 'any' || token.isRoot || (right === 'model-guard' && !names.includes('other'))))
      return isAllowed ? give({ token, id, names, body }) : refused
    }
    return [404, { errors: [`no handler for route "${path}"`] }]
  }

  const { url, stop } = await listen(t, (request, response) => {
    void textIn(request).then((text) => {
      const path = (request.url ?? '').replace(/^\/v1\//, '')
      const { 'x-vault-token': token, 'x-vault-request': isRequest, 'x-vault-namespace': space } = request.headers
      double.asked.push(`${request.method ?? ''} ${path}`)
      const instead = double.instead?.(path)
      if (instead !== undefined) {
        // Status 0: it takes the question, and says nothing.
        if (instead.status > 0) response.writeHead(instead.status).end(instead.body)
        return
      }
      const isMeant = isRequest === 'true' && space === namespace
      const [status, body] = isMeant ? answer(request.method ?? '', path, String(token), text === '' ? {} : JSON.parse(text)) : refused
      response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body))
    })
  })
  const rootToken = `hvs.${randomBytes(18).toString('base64url')}`
  const double: VaultDouble = { url, stop, rootToken, asked: [], instead: undefined, ahead: 0 }
  tokens.set(rootToken, { isRoot: true, mayLookUp: true, seconds: 0, accessor: 'root', isRenewable: false, diesAt: Infinity, endsAt: Infinity })
  return double
}

/** Signed by the issuer of these tests, as far as a double goes. */
function isJwt (value: unknown): boolean {
  return typeof value === 'string' && /^[\w-]+\.[\w-]+\.[\w-]{86}$/.test(value)
}
