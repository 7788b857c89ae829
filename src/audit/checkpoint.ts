import { guardError } from '../errors.ts'
import type { Signer } from '../secrets/signer.ts'
import { digestBytes, fromDigest, toDigest, type Digest } from './merkle.ts'
import { decodeBase64, openNote, parseNote, signNote, type VerifierKey } from './note.ts'

/** What a log says of itself at one size (C2SP tlog-checkpoint). */
export interface Checkpoint {
  readonly origin: string
  /** Records that it covers: those of seq 0 to size - 1. */
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** The signed note, as it is written in `checkpoint`. */
  readonly note: string
}

/** What a checkpoint says, whoever signed it. */
export type Claim = Pick<Checkpoint, 'origin' | 'size' | 'root'>

/** Signs the claim that the log of this origin has this root at this size. The key's name is the origin. */
export async function signCheckpoint (origin: string, size: number, root: Digest, signer: Signer): Promise<Checkpoint> {
  const bytes = fromDigest(root)
  const note = await signNote(`${origin}\n${size}\n${bytes.toString('base64')}\n`, origin, signer)
  return { origin, size, root: bytes, note }
}

/**
 * Verifies a checkpoint of the log that this key speaks for.
 * @throws FMG_ERR_LOG_INCONSISTENT when it is malformed, of another origin, or not signed by this key.
 */
export function openCheckpoint (note: Uint8Array | string, key: VerifierKey): Checkpoint {
  const checkpoint = parseCheckpointText(openNote(note, [key]))
  // A key may sign other notes; only what it says under its own name is this log's word.
  if (checkpoint.origin !== key.name) throw malformed('of another origin')
  return { ...checkpoint, note: typeof note === 'string' ? note : Buffer.from(note).toString() }
}

/**
 * Reads what a checkpoint says: verified where there is a key, else taken at its word.
 * @throws FMG_ERR_LOG_INCONSISTENT when it is malformed or, with a key, does not verify.
 */
export function readClaim (note: Uint8Array | string, key: VerifierKey | undefined): Claim {
  return key === undefined ? parseCheckpointText(parseNote(note).text) : openCheckpoint(note, key)
}

/**
 * Reads the text of a checkpoint, its final newline included.
 * @throws FMG_ERR_LOG_INCONSISTENT when it breaks a rule of C2SP tlog-checkpoint.
 */
export function parseCheckpointText (text: string): Claim {
  const [origin = '', size = '', root = '', ...extensions] = text.slice(0, -1).split('\n')
  const bytes = decodeBase64(root)
  if (!text.endsWith('\n') || origin === '' || extensions.includes('')) throw malformed('with a line missing or empty')
  if (!/^(?:0|[1-9][0-9]*)$/.test(size) || !Number.isSafeInteger(Number(size))) throw malformed('with a malformed size')
  if (bytes?.length !== digestBytes) throw malformed('with a malformed root')
  return { origin, size: Number(size), root: bytes }
}

function malformed (how: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `checkpoint ${how}` })
}

/** Whether a checkpoint has this root. */
export function hasRoot (checkpoint: Pick<Checkpoint, 'root'>, root: Digest): boolean {
  return toDigest(checkpoint.root) === root
}
