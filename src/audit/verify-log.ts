import { readFile, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { isGuardError } from '../errors.ts'
import { exists } from '../files.ts'
import { readClaim, type Claim } from './checkpoint.ts'
import { readCosignatures, type Cosignature, type WitnessKey } from './cosignature.ts'
import { blockHasher } from './hashed-blocks.ts'
import { listKept } from './kept-checkpoints.ts'
import { walkLog } from './log-walk.ts'
import { parseVerifierKey, type VerifierKey } from './note.ts'
import { checkpointFile } from './publisher.ts'
import { listSegments, segmentsFolder } from './segment-files.ts'
import type { LogProblem } from './tile-check.ts'
import { bestOfEach, readWitnessTerms, tooFew, type WitnessTerms, type WitnessTermsOptions } from './witness-terms.ts'

export interface VerifyOptions extends WitnessTermsOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  /** `vkey` of the log (C2SP signed-note). Without it no signature is checked, and the report says so. */
  readonly verifierKey?: string | undefined
  /** A checkpoint of this log that was kept elsewhere: what the log must be a continuation of. */
  readonly savedCheckpoint?: string | undefined
  /** Threads that share the hashing. By default 2 for a log of more than 32 MiB, where there are more cores than one; else none, and all is done in this one. */
  readonly workers?: number | undefined
}

/** Bytes that one thread verifies before others have started. */
const fewBytes = 33_554_432

/** What a witness has seen. */
export interface WitnessedTo {
  readonly name: string
  /** Records. */
  readonly size: number
  /** When, by the witness' clock: RFC 3339. */
  readonly at: string
}

/** What verification found. */
export interface LogReport {
  /** Whether nothing was found wrong. */
  readonly ok: boolean
  /** Records that are whole, canonical and in their place; those that were retired with them, of which the hashes are. */
  readonly size: number
  /** The records before this seq are no longer kept, and a record says so; 0 when all are kept. */
  readonly retiredBefore: number
  /** Records that the checkpoint covers; those after it are only durable, nothing vouches for them yet. */
  readonly checkpointSize: number
  readonly signature: 'verified' | 'not-checked' | 'invalid'
  /**
   * No checkpoint is known to have left the machine: whoever owns the machine could have written all of this anew.
   * True unless the log continues a saved checkpoint, or one that as many witnesses as are required have cosigned.
   */
  readonly unwitnessed: boolean
  /** Records that the saved checkpoint, or as many witnesses as are required, vouch for. */
  readonly witnessedSize: number
  /** The witnesses given that have cosigned a checkpoint of this log: the largest that each has, the largest first. */
  readonly witnesses: readonly WitnessedTo[]
  /** Earlier checkpoints that the log keeps, and that its lines were held against. Of those that were deleted nothing can be told. */
  readonly keptCheckpoints: number
  /** Bytes after the last whole line: a record that was being written. */
  readonly tornBytes: number
  /** What is wrong, the lowest seq first; reading stops soon after the first. */
  readonly problems: readonly LogProblem[]
}

/**
 * Recomputes a whole log from its lines: each canonical and gapless, every leaf and node, every tile and entry bundle, the
 * root of the checkpoint and its signature, the roots of the earlier checkpoints that the log keeps and of one that was saved elsewhere. In little memory however long the log is.
 * @throws FMG_ERR_OPTION_INVALID for a malformed key, and when more witnesses are required than given.
 * @throws FMG_ERR_LOG_INCONSISTENT for a saved checkpoint that is malformed or that the key does not verify. What is wrong
 * with the log itself is reported, not thrown.
 * @throws FMG_ERR_FILE when there is no log in the folder.
 */
export async function verifyLog ({ directory, verifierKey, savedCheckpoint, workers, ...asked }: VerifyOptions): Promise<LogReport> {
  const key = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey)
  const terms = readWitnessTerms(asked)
  const reading = { key, witnesses: terms.keys }
  const saved = savedCheckpoint === undefined ? undefined : { name: 'the saved checkpoint', ...readWitnessed(savedCheckpoint, reading) }
  const newest = await readNewest(directory, reading)
  const kept = await Promise.all((await listKept(directory)).map(async (name) => await readKept(directory, name, reading)))
  const earlier = [...kept, ...saved === undefined ? [] : [saved]]
  const claims = earlier.flatMap(({ name, claim }) => claim === undefined ? [] : [{ name, claim }])
  const hasher = blockHasher(workers ?? await usualWorkers(directory))
  const { size, retiredBefore, tornBytes, problems } = await walkLog({ directory, checkpoint: newest.claim, earlier: claims, hasher }).finally(async () => { await hasher.close() })
  const witnessed = bestOfEach([newest, ...earlier].flatMap(({ cosigned = [] }) => cosigned), (cosignature) => cosignature.size)
  const all = [...problems, ...[newest, ...kept].flatMap(({ problem = [] }) => problem), ...checkOrigins(newest.claim, earlier), ...checkWitnesses(terms, witnessed)]
  const witnessedSize = all.length === 0 ? Math.max(saved?.claim.size ?? 0, witnessed[terms.required - 1]?.size ?? 0) : 0
  return {
    ok: all.length === 0,
    size,
    retiredBefore,
    checkpointSize: newest.claim?.size ?? 0,
    signature: newest.problem !== undefined ? 'invalid' : key === undefined ? 'not-checked' : 'verified',
    unwitnessed: witnessedSize === 0,
    witnessedSize,
    witnesses: witnessed.map(({ witness, size, time }) => ({ name: witness.name, size, at: new Date(time * 1000).toISOString() })),
    keptCheckpoints: kept.length,
    tornBytes,
    problems: all.sort((a, b) => rank(a) - rank(b))
  }
}

async function usualWorkers (directory: string): Promise<number> {
  const sizes = await Promise.all((await listSegments(segmentsFolder(directory))).map(async ({ file }) => (await stat(file)).size))
  return availableParallelism() > 1 && sizes.reduce((sum, size) => sum + size, 0) > fewBytes ? 2 : 0
}

function rank ({ seq }: LogProblem): number {
  return seq ?? Number.MAX_SAFE_INTEGER
}

interface ReadingKeys {
  readonly key: VerifierKey | undefined
  readonly witnesses: readonly WitnessKey[]
}

/** A checkpoint that could be read, and who cosigned it. */
interface Witnessed {
  readonly claim: Claim
  readonly cosigned: readonly SizedCosignature[]
}

interface SizedCosignature extends Cosignature {
  readonly size: number
}

interface ReadNote extends Partial<Witnessed> {
  readonly name: string
  readonly problem?: LogProblem
}

function readWitnessed (note: Uint8Array | string, { key, witnesses }: ReadingKeys): Witnessed {
  const claim = readClaim(note, key)
  return { claim, cosigned: readCosignatures(note, witnesses).map((cosignature) => ({ ...cosignature, size: claim.size })) }
}

async function readNewest (directory: string, reading: ReadingKeys): Promise<ReadNote> {
  const name = 'the checkpoint'
  const file = checkpointFile(directory)
  return await exists(file) ? await readNote({ name, file, prefix: '' }, reading) : { name, problem: { what: 'the checkpoint is missing' } }
}

async function readKept (directory: string, name: string, reading: ReadingKeys): Promise<ReadNote> {
  return await readNote({ name, file: path.join(directory, name), prefix: `${name}: ` }, reading)
}

async function readNote ({ name, file, prefix }: { name: string, file: string, prefix: string }, reading: ReadingKeys): Promise<ReadNote> {
  try {
    return { name, ...readWitnessed(await readFile(file), reading) }
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_LOG_INCONSISTENT')) throw error
    return { name, problem: { what: `${prefix}${error.message}` } }
  }
}

function checkOrigins (checkpoint: Claim | undefined, earlier: readonly ReadNote[]): LogProblem[] {
  if (checkpoint === undefined) return []
  return earlier.flatMap(({ name, claim }) => claim === undefined || claim.origin === checkpoint.origin
    ? []
    : [{ what: `${name} is of ${claim.origin}, the log is ${checkpoint.origin}` }])
}

function checkWitnesses ({ required }: WitnessTerms, witnessed: readonly Cosignature[]): LogProblem[] {
  return witnessed.length < required ? [{ what: tooFew(witnessed.length, required) }] : []
}
