import { createHmac, createSecretKey, hash, randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto'
import { canonicalJson } from '../encoding.ts'
import type { KeyedDigest } from './keyed-digest.ts'

/** What a receipt opens: what its record must not say in the clear. */
export interface Opened {
  /** `sha256:<hex>` of the request's body as it was received; absent where none was read to its end. */
  readonly input?: string | undefined
  /** `sha256:<hex>` of the answer's body. */
  readonly output: string
  /** Id of the principal. */
  readonly principal: string
}

/** Members of a record by which its receipt is made. To who does not have the principal's key both are noise. */
export interface Committed {
  /** `hmac-sha256:<id of the principal's key>:<nonce>:<hex>`: binds what is opened. */
  readonly commitment: string
  /** The digests, hidden, so that nothing has to be kept for a receipt but this record: 32 or 64 bytes in base64url. */
  readonly opening: string
}

/** What a record commits to. */
export interface ToCommit {
  /** Of the principal, in the current epoch. */
  readonly digests: KeyedDigest
  readonly principal: string
  /** SHA-256 of the bodies, 32 bytes each. */
  readonly input: Uint8Array | undefined
  readonly output: Uint8Array
  /** Fresh for every record: 16 random bytes. */
  readonly nonce?: Uint8Array
}

/** Commits a record to a request and its answer, under a key of its own that is derived from the principal's and a nonce. */
export function commit ({ digests, principal, input, output, nonce = randomBytes(16) }: ToCommit): Committed {
  const key = createSecretKey(receiptKey(digests, nonce))
  const tag = commitmentTag(key, openedOf(principal, input, output)).toString('hex')
  const bytes = Buffer.concat([mask(key, 'output', output), ...input === undefined ? [] : [mask(key, 'input', input)]])
  return { commitment: `hmac-sha256:${digests.keyId}:${Buffer.from(nonce).toString('base64url')}:${tag}`, opening: bytes.toString('base64url') }
}

/** Id of the principal's key under which a record was committed; `undefined` where it was not. */
export function commitmentKeyId (commitment: string | undefined): string | undefined {
  return readCommitment(commitment)?.keyId
}

/**
 * What a committed record says to whom it is of.
 * @param digests of the principal, under the key that the commitment names.
 * @returns `null` where that does not open it.
 */
export function openCommitment ({ commitment, opening }: Committed, principal: string, digests: KeyedDigest): { readonly key: Buffer, readonly opened: Opened } | null {
  const parts = readCommitment(commitment)
  if (parts === undefined) return null
  const key = receiptKey(digests, parts.nonce)
  const bytes = Buffer.from(opening, 'base64url')
  const output = mask(key, 'output', bytes.subarray(0, digestBytes))
  const opened = openedOf(principal, bytes.length > digestBytes ? mask(key, 'input', bytes.subarray(digestBytes)) : undefined, output)
  return isCommitted(commitment, key, opened) ? { key, opened } : null
}

/** Whether a record is committed to this, under this key of 32 bytes. */
export function isCommitted (commitment: string | undefined, key: Uint8Array, opened: Opened): boolean {
  const tag = readCommitment(commitment)?.tag
  // A shorter key would be the same to HMAC as that key with zeros after it (RFC 2104 section 2).
  return tag !== undefined && key.length === digestBytes && timingSafeEqual(tag, commitmentTag(key, opened))
}

/** A digest as it is written: `sha256:<hex>`. */
export function sha256Text (digest: Uint8Array): string {
  return `sha256:${Buffer.from(digest).toString('hex')}`
}

/** SHA-256 of a whole body. */
export function bodyDigest (body: string | Uint8Array): Buffer {
  return hash('sha256', body, 'buffer')
}

const digestBytes = 32

function openedOf (principal: string, input: Uint8Array | undefined, output: Uint8Array): Opened {
  return { ...input !== undefined && { input: sha256Text(input) }, output: sha256Text(output), principal: principal.toWellFormed() }
}

function receiptKey (digests: KeyedDigest, nonce: Uint8Array): Buffer {
  return Buffer.from(digests.digest('receipt', nonce).slice(-2 * digestBytes), 'hex')
}

function commitmentTag (key: Uint8Array | KeyObject, opened: Opened): Buffer {
  return createHmac('sha256', key).update(canonicalJson(opened)).digest()
}

/** Hides a digest, or shows a hidden one. The key is one record's alone, so that no mask serves twice. */
function mask (key: Uint8Array | KeyObject, field: 'input' | 'output', digest: Uint8Array): Buffer {
  const pad = createHmac('sha256', key).update(`opening ${field}`).digest()
  return Buffer.from(digest.map((byte, at) => byte ^ pad.readUInt8(at)))
}

function readCommitment (commitment: string | undefined): { readonly keyId: string, readonly nonce: Buffer, readonly tag: Buffer } | undefined {
  const [, keyId = '', nonce = '', tag = ''] = /^hmac-sha256:([0-9A-Za-z_]{1,32}):([\w-]{22}):([0-9a-f]{64})$/.exec(commitment ?? '') ?? []
  return tag === '' ? undefined : { keyId, nonce: Buffer.from(nonce, 'base64url'), tag: Buffer.from(tag, 'hex') }
}
