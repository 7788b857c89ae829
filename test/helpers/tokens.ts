import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto'

/** The time of tests of tokens, in seconds since the epoch. */
export const nowSeconds = 1_800_000_000

/** An issuer with one key of P-256. */
export interface TestIssuer {
  readonly issuer: string
  readonly privateKey: KeyObject
  readonly jwk: Readonly<Record<string, unknown>>
  /** A good token, with these changed; `undefined` takes a member away. */
  token (claims?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): string
}

/** @param kid in the header of tokens, too. */
export function testIssuer (issuer = 'https://issuer.example', kid = 'one'): TestIssuer {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const good = { iss: issuer, aud: 'https://models.example', sub: 'ann', client_id: 'app', jti: 'token-1', iat: nowSeconds - 10, exp: nowSeconds + 290 }
  return {
    issuer,
    privateKey,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid },
    token: (claims = {}, header = {}) => signed(privateKey, { alg: 'ES256', typ: 'at+jwt', kid, ...header }, { ...good, ...claims })
  }
}

/** A compact JWS by ES256 over these, as JSON or as the text given. */
export function signed (key: KeyObject, header: unknown, payload: unknown): string {
  const input = `${part(header)}.${part(payload)}`
  return `${input}.${sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

function part (value: unknown): string {
  return Buffer.from(Buffer.isBuffer(value) || typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}
