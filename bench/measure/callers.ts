import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createApiKey, fileKeyStore } from 'fastify-model-guard'
import { SignJWT } from 'jose'

const identities = 1000
const groups = 10
const org = 'acme'

/** Who asks, and in which group. */
export interface Caller {
  readonly user: string
  readonly group: string
}

/** A thousand callers in ten groups. */
export const callers: readonly Caller[] = Array.from({ length: identities }, (_, index) => ({ user: `user-${index}`, group: `group-${index % groups}` }))

/** The groups that callers are in. */
export const groupNames: readonly string[] = Array.from({ length: groups }, (_, index) => `group-${index}`)

/** Text of a file with one of these a line. */
export function lines (texts: readonly string[]): string {
  return `${texts.join('\n')}\n`
}

/** A JSON body of about 1 KB for each caller: 64 numbers, another for each. */
export function bodies (): string[] {
  return callers.map((_, seed) => {
    const data = Array.from({ length: 64 }, (_, index) => Math.sin(seed * 64 + index).toFixed(12))
    return `{"inputs":[{"name":"features","shape":[1,64],"datatype":"FP32","data":[${data.join(',')}]}]}`
  })
}

/** Issuer and audience of the tokens. */
export const issuer = 'https://issuer.example'
export const audience = 'https://models.example'

/** A token for each caller, as an issuer that follows RFC 9068 signs them (RSA: 2048 bits), and writes the key that verifies them. */
export async function tokens (algorithm: 'RS256' | 'ES256', publicKeyFile: string): Promise<string[]> {
  const { privateKey, publicKey } = algorithm === 'RS256' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  await writeFile(publicKeyFile, publicKey.export({ type: 'spki', format: 'pem' }))
  const signed: string[] = []
  for (const [index, { user, group }] of callers.entries()) {
    const claims = { org, groups: [group], scope: 'model:predict', client_id: 'bench', jti: `token-${index}` }
    signed.push(await new SignJWT(claims).setProtectedHeader({ alg: algorithm, kid: 'one', typ: 'at+jwt' })
      .setIssuer(issuer).setAudience(audience).setSubject(user).setIssuedAt().setExpirationTime('1h').sign(privateKey))
  }
  return signed
}

/** Makes a key for each caller, and writes the store and the pepper into a folder as `model-guard keys create` leaves them. */
export async function apiKeys (folder: string): Promise<string[]> {
  const pepper = randomBytes(32)
  await writeFile(path.join(folder, 'pepper'), pepper.toString('base64'), { mode: 0o600 })
  const store = await fileKeyStore({ file: path.join(folder, 'keys.json'), pepper })
  const keys: string[] = []
  for (const { user, group } of callers) {
    const { key } = await createApiKey(store, pepper, { principal: { id: user, type: 'user', org, team: group, tier: 'standard', roles: ['viewer'] } })
    keys.push(key)
  }
  await store.close()
  return keys
}
