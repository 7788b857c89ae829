import { compactVerify } from 'jose'
import { parseStrictJson, type JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'
import { isAsLongAsModulus } from './rsa-length.ts'
import type { VerificationKey } from './verification-key.ts'

/** The protected header (RFC 7515 section 4), as far as it is heeded. */
export interface JwsHeader {
  readonly alg: string
  readonly kid: string | undefined
  readonly typ: string | undefined
  /** Of a DPoP proof alone is it believed (RFC 9449 section 4.2). */
  readonly jwk: unknown
  /** Of all its members. */
  readonly names: readonly string[]
}

/** A well-formed JWS. Nothing in it is true before `verifyJws`. */
export interface CompactJws {
  readonly text: string
  readonly header: JwsHeader
  readonly payload: Uint8Array
  readonly signature: Uint8Array
}

// RFC 7515 section 3.1, and nothing around it.
const shape = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+)$/

/** Characters of the longest token that is looked at. */
export const maxTokenLength = 8192

/** Whether a credential is a JWT, if anything: two dots, or the four of an encrypted one. */
export function hasJwtShape (credential: string): boolean {
  const dots = credential.startsWith('fmg_') ? 0 : countDots(credential)
  return dots === 2 || dots === 4
}

/** Up to five: this is done for every request, and splitting costs as much as the rest of it. */
function countDots (text: string): number {
  let dots = 0
  for (let at = text.indexOf('.'); at !== -1 && dots < 5; at = text.indexOf('.', at + 1)) dots++
  return dots
}

/**
 * Reads the compact serialization, strictly, so that one token has one spelling: base64url decodes and encodes again to the same text.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `jws-malformed`, `jws-header-malformed` or `jws-header-critical`.
 */
export function parseCompactJws (text: string): CompactJws {
  const [, header, payload, signature] = text.length > maxTokenLength ? [] : shape.exec(text) ?? []
  if (header === undefined || payload === undefined || signature === undefined) throw badCredential('jws-malformed')
  const bytes = decode(signature)
  return { text, header: readHeader(parseStrictJson(decode(header))), payload: decode(payload), signature: bytes }
}

// Bits that decode to nothing would give one signature many spellings: jose alone takes them.
function decode (part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part) throw badCredential('jws-malformed')
  return bytes
}

// `jku`, `x5u` and `x5c` are not looked at: the signer does not choose the key it is verified with.
function readHeader (header: JsonObject | null): JwsHeader {
  if (header === null) throw badCredential('jws-header-malformed')
  const { alg, kid, typ, jwk } = header
  // RFC 7515 section 4.1.11: no extension is understood here, `b64` (RFC 7797) not either, whether or not it is marked as critical.
  if ('crit' in header || 'b64' in header) throw badCredential('jws-header-critical')
  if (typeof alg !== 'string' || !isOptionalText(kid) || !isOptionalText(typ)) throw badCredential('jws-header-malformed')
  return { alg, kid, typ, jwk, names: Object.keys(header) }
}

function isOptionalText (value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

/**
 * Verifies the signature with a key that is pinned to its algorithm.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `jws-algorithm` or `jws-signature`.
 */
export async function verifyJws ({ text, header, signature }: CompactJws, { key, algorithm }: VerificationKey): Promise<void> {
  if (header.alg !== algorithm) throw badCredential('jws-algorithm')
  if (!isAsLongAsModulus(key, signature)) throw badCredential('jws-signature')
  try {
    await compactVerify(text, key, { algorithms: [algorithm] })
  } catch (cause) {
    throw badCredential('jws-signature', cause)
  }
}
