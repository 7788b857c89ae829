import { readFile, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { isGuardError } from '../errors.ts'
import { exists } from '../files.ts'
import { readClaim, type Claim } from './checkpoint.ts'
import { blockHasher } from './hashed-blocks.ts'
import { listKept } from './kept-checkpoints.ts'
import { walkLog, type NamedClaim } from './log-walk.ts'
import { parseVerifierKey, type VerifierKey } from './note.ts'
import { checkpointFile } from './publisher.ts'
import { listSegments, segmentsFolder } from './segment-files.ts'
import type { LogProblem } from './tile-check.ts'

export interface VerifyOptions {
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
   * True unless the log continues a saved checkpoint.
   */
  readonly unwitnessed: boolean
  /** Records that the saved checkpoint vouches for. */
  readonly witnessedSize: number
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
 * @throws FMG_ERR_OPTION_INVALID for a malformed verifier key.
 * @throws FMG_ERR_LOG_INCONSISTENT for a saved checkpoint that is malformed or that the key does not verify. What is wrong
 * with the log itself is reported, not thrown.
 * @throws FMG_ERR_FILE when there is no log in the folder.
 */
export async function verifyLog ({ directory, verifierKey, savedCheckpoint, workers }: VerifyOptions): Promise<LogReport> {
  const key = verifierKey === undefined ? undefined : parseVerifierKey(verifierKey)
  const saved = savedCheckpoint === undefined ? undefined : readClaim(savedCheckpoint, key)
  const { checkpoint, problem } = await readCheckpoint(directory, key)
  const kept = await Promise.all((await listKept(directory)).map(async (name) => await readEarlier(directory, name, key)))
  const earlier = [...kept.flatMap(({ named = [] }) => named), ...saved === undefined ? [] : [{ claim: saved, name: 'the saved checkpoint' }]]
  const hasher = blockHasher(workers ?? await usualWorkers(directory))
  const { size, retiredBefore, tornBytes, problems } = await walkLog({ directory, checkpoint, earlier, hasher }).finally(async () => { await hasher.close() })
  const unread = [...problem === undefined ? [] : [problem], ...kept.flatMap(({ problem = [] }) => problem)]
  const all = [...problems, ...unread, ...checkOrigins(checkpoint, earlier)]
  const witnessedSize = all.length === 0 ? saved?.size ?? 0 : 0
  return {
    ok: all.length === 0,
    size,
    retiredBefore,
    checkpointSize: checkpoint?.size ?? 0,
    signature: problem !== undefined ? 'invalid' : key === undefined ? 'not-checked' : 'verified',
    unwitnessed: witnessedSize === 0,
    witnessedSize,
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

async function readCheckpoint (directory: string, key: VerifierKey | undefined): Promise<ReadNote> {
  const file = checkpointFile(directory)
  return await exists(file) ? await readNote(file, key) : { problem: { what: 'the checkpoint is missing' } }
}

async function readEarlier (directory: string, name: string, key: VerifierKey | undefined): Promise<ReadEarlier> {
  const { checkpoint, problem } = await readNote(path.join(directory, name), key)
  return { ...checkpoint !== undefined && { named: { claim: checkpoint, name } }, ...problem !== undefined && { problem: { what: `${name}: ${problem.what}` } } }
}

interface ReadNote {
  readonly checkpoint?: Claim
  readonly problem?: LogProblem
}

interface ReadEarlier {
  readonly named?: NamedClaim
  readonly problem?: LogProblem
}

async function readNote (file: string, key: VerifierKey | undefined): Promise<ReadNote> {
  try {
    return { checkpoint: readClaim(await readFile(file), key) }
  } catch (error) {
    if (!isGuardError(error, 'FMG_ERR_LOG_INCONSISTENT')) throw error
    return { problem: { what: error.message } }
  }
}

function checkOrigins (checkpoint: Claim | undefined, earlier: readonly NamedClaim[]): LogProblem[] {
  if (checkpoint === undefined) return []
  return earlier.filter(({ claim }) => claim.origin !== checkpoint.origin)
    .map(({ claim, name }) => ({ what: `${name} is of ${claim.origin}, the log is ${checkpoint.origin}` }))
}
