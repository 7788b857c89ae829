import path from 'node:path'
import { guardError } from '../errors.ts'
import { readNamedFile } from '../files.ts'
import { optionInvalid } from '../options.ts'
import { readClaim } from './checkpoint.ts'
import { listCosigned } from './kept-checkpoints.ts'
import { fromDigest, hashLeaf, verifyInclusion } from './merkle.ts'
import { parseNote, parseVerifierKey } from './note.ts'
import { proveInclusion } from './prove.ts'
import { checkpointFile } from './publisher.ts'
import { tileHashes } from './tile-hashes.ts'
import { parseBundle, readTile, tileWidth } from './tiles.ts'
import { formatTlogProof } from './tlog-proof.ts'

export interface ProveOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  readonly seq: number
  /** The signed note of the checkpoint to prove it under, of this log at any size. Default: of those that witnesses cosigned last and that cover it the one with most cosignatures; else the log's last. */
  readonly checkpoint?: string | undefined
  /** `vkey` of the log (C2SP signed-note). Without it the checkpoints' signatures are not checked, which whoever verifies the proof does. */
  readonly verifierKey?: string | undefined
}

/** A record of a log, and that it stands there. */
export interface RecordProof {
  readonly seq: number
  /** The exact line, without its line feed; `undefined` where the log no longer keeps it. Its hash is kept, and so is the proof. */
  readonly line: Uint8Array | undefined
  /** C2SP tlog-proof: what a `.tlog-proof` file holds. */
  readonly proof: string
}

/**
 * Proves that a record stands in a log, from the tiles on disk alone. No proof is given that would not verify.
 * @throws FMG_ERR_OPTION_INVALID when the checkpoint does not cover the record, or for a malformed key.
 * @throws FMG_ERR_LOG_INCONSISTENT when the tiles are missing or contradict the checkpoint, the checkpoint the key, or the line its hash.
 * @throws FMG_ERR_FILE when there is no checkpoint in the folder.
 */
export async function proveRecord ({ directory, seq, checkpoint: given, verifierKey }: ProveOptions): Promise<RecordProof> {
  const key = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey)
  // Before the newest is read, or it could be of a larger log than that.
  const cosigned = given ?? await mostCosigned(directory, seq)
  const newest = (await readNamedFile(checkpointFile(directory))).toString()
  const note = cosigned ?? newest
  const { size } = readClaim(newest, key)
  const claim = readClaim(note, key)
  if (!Number.isSafeInteger(seq) || seq < 0 || seq >= claim.size) throw optionInvalid('seq', `below ${claim.size}, the number of records under the checkpoint`, seq)
  if (claim.size > size) throw optionInvalid('checkpoint', `of at most ${size} records, as the log has`, claim.size)
  const hashes = tileHashes(directory, size)
  const siblings = await proveInclusion(hashes, seq, claim.size)
  const leaf = await hashes(seq, seq + 1)
  if (!verifyInclusion({ index: seq, size: claim.size, leaf: fromDigest(leaf), root: claim.root, proof: siblings })) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `the tiles above record ${seq} do not have the root of the checkpoint of ${claim.size}` })
  }
  const line = await readEntry(directory, seq, size)
  if (line !== undefined && hashLeaf(line) !== leaf) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `record ${seq} does not have the hash in its tile` })
  return { seq, line, proof: formatTlogProof({ index: seq, hashes: siblings, checkpoint: note }) }
}

/** The cosigned checkpoint that covers a record and has most signatures; `undefined` where there is none. */
async function mostCosigned (directory: string, seq: number): Promise<string | undefined> {
  const notes = await Promise.all((await listCosigned(directory)).map(async (name) => (await readNamedFile(path.join(directory, name))).toString()))
  const covering = notes.filter((note) => readClaim(note, undefined).size > seq)
  return covering.sort((a, b) => parseNote(b).signatures.length - parseNote(a).signatures.length)[0]
}

/**
 * The line of a record that is under the log's checkpoint; `undefined` where it is not, or no longer kept. Held against nothing.
 * @throws FMG_ERR_FILE when there is no checkpoint in the folder.
 */
export async function readLine (directory: string, seq: number): Promise<string | undefined> {
  const { size } = readClaim(await readNamedFile(checkpointFile(directory)), undefined)
  const entry = seq < size ? await readEntry(directory, seq, size) : undefined
  return entry === undefined ? undefined : Buffer.from(entry).toString()
}

/** The line of a record from its entry bundle in a log of this size; `undefined` where the bundle is gone. Held against nothing. */
export async function readEntry (directory: string, seq: number, size: number): Promise<Uint8Array | undefined> {
  const index = Math.floor(seq / tileWidth)
  const bundle = await readTile(directory, 'entries', index, Math.min(tileWidth, size - index * tileWidth))
  return bundle === undefined ? undefined : parseBundle(bundle)[seq % tileWidth]
}
