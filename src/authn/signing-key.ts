import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { randomBase62 } from '../encoding.ts'
import { integer, listOf, object, oneOf, string } from '../options.ts'
import type { VerificationKey } from './verification-key.ts'

/** What this server signs its tokens with. `EdDSA` is Ed25519, by the name that every JOSE library knows. */
export type SigningAlgorithm = 'ES256' | 'EdDSA'

/** A key of this server's own. */
export interface SigningKey {
  readonly kid: string
  readonly algorithm: SigningAlgorithm
  /** Milliseconds since the epoch: from then on it signs, until another does. */
  readonly signsFrom: number
  readonly verification: VerificationKey
  /** The private half, PKCS #8 PEM. A function, so that no log writes it by accident. */
  readonly privateKey: () => string
}

export const readSigningAlgorithm = oneOf<SigningAlgorithm>('ES256', 'EdDSA')

const readKeys = object({
  version: oneOf('1'),
  keys: listOf(object({ kid: string(/^[0-9A-Za-z]{16}$/, 'a key id'), algorithm: readSigningAlgorithm, signsFrom: integer({ min: 0 }), privateKey: string(/^-----BEGIN PRIVATE KEY-----/, 'PKCS #8 PEM') }))
})

/** Makes a key. @param signsFrom milliseconds since the epoch. */
export function drawSigningKey (algorithm: SigningAlgorithm, signsFrom: number): SigningKey {
  const { privateKey } = algorithm === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
  return signingKey(randomBase62(16), algorithm, signsFrom, privateKey)
}

function signingKey (kid: string, algorithm: SigningAlgorithm, signsFrom: number, key: KeyObject): SigningKey {
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString()
  return Object.freeze({ kid, algorithm, signsFrom, verification: { kid, algorithm, key: createPublicKey(key) }, privateKey: () => pem })
}

/** The text of these keys, private halves included. */
export function writeSigningKeys (keys: readonly SigningKey[]): string {
  return `${JSON.stringify({ version: '1', keys: keys.map(({ kid, algorithm, signsFrom, privateKey }) => ({ kid, algorithm, signsFrom, privateKey: privateKey() })) }, null, 2)}\n`
}

/**
 * The keys of such a text; none of an empty one.
 * @param before keys read before, which stay the objects they are.
 * @throws FMG_ERR_OPTION_INVALID for any other text, which it does not quote.
 */
export function readSigningKeys (text: string, before: readonly SigningKey[]): readonly SigningKey[] {
  if (text === '') return []
  const { keys } = readKeys(parse(text), 'signingKeys')
  return keys.map(({ kid, algorithm, signsFrom, privateKey }) => before.find((key) => key.kid === kid) ?? signingKey(kid, algorithm, signsFrom, createPrivateKey(privateKey)))
}

function parse (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message quotes the text.
    return null
  }
}

/** The public half as it is published (RFC 7517). */
export function publicJwk ({ kid, algorithm, verification }: SigningKey): Readonly<Record<string, unknown>> {
  return { ...verification.key.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' }
}
