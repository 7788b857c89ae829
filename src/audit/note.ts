import { createPublicKey, hash, verify, type KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import type { Signer } from '../secrets/signer.ts'

/** A key that verifies signatures of a note (C2SP signed-note, `vkey`). */
export interface VerifierKey {
  readonly name: string
  /** Key id, 8 hexadecimal digits. */
  readonly id: string
  readonly publicKey: KeyObject
}

/** One signature line. */
export interface NoteSignature {
  readonly name: string
  /** Key id, 8 hexadecimal digits. */
  readonly id: string
  readonly signature: Uint8Array
}

/** A signed note as it is written, nothing of it verified. */
export interface Note {
  /** Final newline included: the bytes that are signed. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

const ed25519Type = 0x01
const maxSignatures = 128

/**
 * A name that a key may have.
 * C2SP signed-note: not empty, no Unicode spaces, no plus; and no control characters, which no note may hold.
 */
export function isKeyName (name: string): boolean {
  return /^[^\p{White_Space}\p{Cc}+]+$/u.test(name)
}

/**
 * Reads a note without verifying anything.
 * @throws FMG_ERR_LOG_INCONSISTENT when it breaks a rule of C2SP signed-note.
 */
export function parseNote (note: Uint8Array | string): Note {
  const whole = typeof note === 'string' ? note : decode(note)
  // Control characters but newline; C2SP signed-note names those below U+0020.
  if (Array.from(whole).some((character) => character < ' ' && character !== '\n')) throw malformed('a control character')
  const end = whole.lastIndexOf('\n\n')
  if (end === -1) throw malformed('no blank line before the signatures')
  if (!whole.endsWith('\n') || end + 2 === whole.length) throw malformed('no signature line at the end')
  const lines = whole.slice(end + 2, -1).split('\n')
  if (lines.length > maxSignatures) throw malformed(`more than ${maxSignatures} signatures`)
  return { text: whole.slice(0, end + 1), signatures: lines.map(parseSignatureLine) }
}

function decode (bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: 'note with bytes that are not UTF-8', cause })
  }
}

function parseSignatureLine (line: string): NoteSignature {
  const [dash, name = '', base64 = '', ...more] = line.split(' ')
  const bytes = decodeBase64(base64)
  if (dash !== '—' || more.length > 0 || !isKeyName(name) || bytes === undefined || bytes.length < 5) throw malformed('a malformed signature line')
  return { name, id: bytes.toString('hex', 0, 4), signature: bytes.subarray(4) }
}

/** Base64 of RFC 4648 section 4, padding and all, in its one canonical form. */
export function decodeBase64 (text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

function malformed (what: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `note with ${what}` })
}

/**
 * Reads a note and verifies it: its text, when a key of these has signed it.
 * Signatures of other keys are ignored, even such that share a name or an id with one of these.
 * @throws FMG_ERR_LOG_INCONSISTENT when it is malformed, when a signature of one of these keys fails, or when none is there.
 */
export function openNote (note: Uint8Array | string, keys: readonly VerifierKey[]): string {
  const { text, signatures } = parseNote(note)
  let verified = 0
  for (const { name, id, signature } of signatures) {
    const key = keys.find((candidate) => candidate.name === name && candidate.id === id)
    if (key === undefined) continue
    if (!verify(null, Buffer.from(text), key.publicKey, signature)) throw malformed(`a signature of ${name} that does not verify`)
    verified++
  }
  if (verified === 0) throw malformed('no signature of a known key')
  return text
}

/** Signs a text, which ends in a newline, under this name. The signer's key is Ed25519. */
export async function signNote (text: string, name: string, signer: Signer): Promise<string> {
  const id = keyId(name, rawPublicKey(signer.publicKey))
  const signature = await signer.sign(Buffer.from(text))
  return `${text}\n— ${name} ${Buffer.concat([id, signature]).toString('base64')}\n`
}

/** The verifier key of an Ed25519 public key under this name, as text. */
export function formatVerifierKey (name: string, publicKey: KeyObject): string {
  const raw = rawPublicKey(publicKey)
  return `${name}+${keyId(name, raw).toString('hex')}+${Buffer.concat([Buffer.of(ed25519Type), raw]).toString('base64')}`
}

/**
 * Reads a verifier key of type Ed25519.
 * @throws FMG_ERR_OPTION_INVALID when it is not one, or when its id is not that of its name and key.
 */
export function parseVerifierKey (text: string): VerifierKey {
  return parseTypedKey(text, ed25519Type, 'an Ed25519 key')
}

/**
 * Reads a `vkey` that holds an Ed25519 key for signatures of this type.
 * @param kind how it is named when it is not one.
 * @throws FMG_ERR_OPTION_INVALID when it is not one, or when its id is not that of its name, type and key.
 */
export function parseTypedKey (text: string, type: number, kind: string): VerifierKey {
  const [name = '', id = '', ...rest] = text.split('+')
  // The last part is base64, in which a plus is a digit.
  const bytes = decodeBase64(rest.join('+'))
  if (!isKeyName(name) || bytes?.length !== 33 || bytes[0] !== type) throw verifierKeyInvalid(`name+id+base64 of ${kind}`)
  const raw = bytes.subarray(1)
  if (keyId(name, raw, type).toString('hex') !== id) throw verifierKeyInvalid('of the id that its name and key give')
  return { name, id, publicKey: createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') } }) }
}

function verifierKeyInvalid (expected: string): Error {
  return guardError('FMG_ERR_OPTION_INVALID', { detail: `verifier key must be ${expected}` })
}

function keyId (name: string, raw: Uint8Array, type = ed25519Type): Buffer {
  const sequence = Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(type), raw])
  return hash('sha256', sequence, 'buffer').subarray(0, 4)
}

function rawPublicKey (publicKey: KeyObject): Buffer {
  const { x } = publicKey.export({ format: 'jwk' })
  if (publicKey.asymmetricKeyType !== 'ed25519' || x === undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'signer must hold an Ed25519 key' })
  return Buffer.from(x, 'base64url')
}
