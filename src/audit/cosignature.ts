import { verify, type KeyObject } from 'node:crypto'
import { guardError } from '../errors.ts'
import { parseNote, parseTypedKey, type NoteSignature } from './note.ts'

/** A witness' key: it says when the witness saw a checkpoint that continues all that it saw before (C2SP tlog-cosignature, Ed25519). */
export interface WitnessKey {
  readonly name: string
  /** Key id, 8 hexadecimal digits. */
  readonly id: string
  /** Verifies cosignatures, and no signature of a note. */
  readonly cosignerKey: KeyObject
}

/** That a witness saw a checkpoint. */
export interface Cosignature {
  readonly witness: WitnessKey
  /** When, by the witness' clock; seconds since the epoch. */
  readonly time: number
}

const cosignatureType = 0x04
const timeBytes = 8
/** ECMA-262 section 21.4.1.1: after it there is no date. */
const maxTime = 8_640_000_000_000

/**
 * Reads the verifier key (`vkey`) of a witness, of type Ed25519 cosignature.
 * @throws FMG_ERR_OPTION_INVALID when it is not one, or when its id is not that of its name and key.
 */
export function parseWitnessKey (text: string): WitnessKey {
  const { name, id, publicKey } = parseTypedKey(text, cosignatureType, 'a witness\' Ed25519 key (type 4)')
  return { name, id, cosignerKey: publicKey }
}

/**
 * The cosignatures of these witnesses under a checkpoint; signatures of others are ignored.
 * @throws FMG_ERR_LOG_INCONSISTENT when the note is malformed, or a cosignature of one of them does not verify.
 */
export function readCosignatures (note: Uint8Array | string, witnesses: readonly WitnessKey[]): Cosignature[] {
  const { text, signatures } = parseNote(note)
  return signatures.flatMap((signature) => {
    const witness = witnesses.find(({ name, id }) => name === signature.name && id === signature.id)
    return witness === undefined ? [] : [{ witness, time: timeOf(text, signature, witness) }]
  })
}

function timeOf (text: string, { name, signature }: NoteSignature, { cosignerKey }: WitnessKey): number {
  const bytes = Buffer.from(signature)
  const time = bytes.length < timeBytes ? NaN : Number(bytes.readBigUInt64BE())
  if (!(time <= maxTime) || !verify(null, Buffer.from(cosignedText(text, time)), cosignerKey, bytes.subarray(timeBytes))) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `checkpoint with a cosignature of ${name} that does not verify` })
  }
  return time
}

/** What a witness signs: the time in seconds, and the checkpoint's text. */
export function cosignedText (text: string, time: number): string {
  return `cosignature/v1\ntime ${time}\n${text}`
}
