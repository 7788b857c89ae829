import { guardError, type GuardError } from '../errors.ts'
import { listOf, object, oneOf, string, type Reader } from '../options.ts'
import { base64url, openObject, otherMembers, parseJson, readPart } from './read-part.ts'

/** The largest sealed data key that is read: sixteen recipients need less than half of it. */
export const maxEnvelopeBytes = 64 * 1024

/** The most recipients one data key has. */
export const maxRecipients = 16

// The file must not bring the key (dir), a password to guess (PBES2) or an oracle (RSA1_5).
const refusedAlgorithms = /^(none|dir|RSA1_5|PBES2-.*)$/
// RFC 7516 section 4.1: headers that would change what is opened, or by which key.
const refusedHeaders = ['enc', 'zip', 'crit', 'cty', 'typ', 'p2s', 'p2c', 'jku', 'jwk', 'x5u', 'x5c']

/** One recipient of a data key as the file has it: not authenticated, so a hint at a key and no more. */
export interface Recipient {
  readonly keyId: string
  readonly algorithm: string
  /** What the algorithm added to the header. */
  readonly header: Readonly<Record<string, unknown>>
  readonly encryptedKey: Uint8Array
}

/** A sealed data key that was read and not opened. */
export interface KeyEnvelope {
  readonly recipients: readonly Recipient[]
  readonly associatedData: Buffer
  /** The sealed content, as members of a JWE in flattened form. */
  readonly content: { readonly protected: string, readonly aad: string, readonly iv: string, readonly ciphertext: string, readonly tag: string }
}

const names = { alg: string(), kid: string() }

const readRecipient: Reader<Recipient> = (value, path) => {
  const { header, encrypted_key: encryptedKey } = object({ header: withOthers, encrypted_key: base64url })(value, path)
  return { keyId: header.kid, algorithm: header.alg, header: header.others, encryptedKey }
}

const readJwe = object({ protected: base64url, aad: base64url, iv: base64url, ciphertext: base64url, tag: base64url, recipients: listOf(readRecipient) })

const readProtected = object({ enc: oneOf('A256GCM') })

function withOthers (value: unknown, path: string): { alg: string, kid: string, others: Readonly<Record<string, unknown>> } {
  return { ...openObject(names)(value, path), others: otherMembers(names)(value, path) }
}

/**
 * Reads a sealed data key: JWE in General JSON Serialization (RFC 7516 section 7.2.1), content under A256GCM, nothing left open to
 * whoever wrote the file.
 * @throws FMG_ERR_BUNDLE_INVALID
 */
export function readEnvelope (bytes: Uint8Array, path: string): KeyEnvelope {
  if (bytes.length > maxEnvelopeBytes) throw invalid(`${path} is larger than ${maxEnvelopeBytes} bytes`)
  const { recipients, ...sealed } = readPart(readJwe, parseJson(bytes, path), path)
  readPart(readProtected, parseJson(sealed.protected, `${path}.protected`), `${path}.protected`)
  requireRecipients(recipients, path)
  return {
    recipients,
    associatedData: sealed.aad,
    content: {
      protected: sealed.protected.toString('base64url'),
      aad: sealed.aad.toString('base64url'),
      iv: sealed.iv.toString('base64url'),
      ciphertext: sealed.ciphertext.toString('base64url'),
      tag: sealed.tag.toString('base64url')
    }
  }
}

function requireRecipients (recipients: readonly Recipient[], path: string): void {
  if (recipients.length === 0 || recipients.length > maxRecipients) throw invalid(`${path} must have 1 to ${maxRecipients} recipients`)
  if (new Set(recipients.map(({ keyId }) => keyId)).size < recipients.length) throw invalid(`${path} names a recipient twice`)
  for (const { algorithm, header } of recipients) {
    if (refusedAlgorithms.test(algorithm)) throw invalid(`${path} must not use ${algorithm}`)
    const refused = refusedHeaders.find((name) => Object.hasOwn(header, name))
    if (refused !== undefined) throw invalid(`${path} must not have ${refused} in a recipient's header`)
  }
}

function invalid (detail: string): GuardError {
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail, reason: 'key-envelope' })
}
