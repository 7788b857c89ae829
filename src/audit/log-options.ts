import { readUrl } from '../bounded-fetch.ts'
import { anyThat, boolean, functionOf, havingMethods, integer, listOf, object, oneOf, optional, string, withDefault, type Reader } from '../options.ts'
import type { Signer } from '../secrets/signer.ts'
import type { Durability } from './appender.ts'
import type { Checkpoint } from './checkpoint.ts'
import { parseWitnessKey } from './cosignature.ts'
import type { Identities } from './identities.ts'
import { isKeyName } from './note.ts'
import type { WitnessPlace } from './witness-client.ts'

/** How a log is opened. */
export interface LogOptions {
  /** The log's folder, made when it is not there, and held by one process at a time. */
  readonly directory: string
  /**
   * Names the log in its checkpoints, and its key: by custom a URL without a scheme, such as `example.com/audit`. No spaces,
   * no `+`. A log that was begun under one origin does not open under another.
   */
  readonly origin: string
  /** Signs the checkpoints; its key is Ed25519. */
  readonly signer: Signer
  /** The map behind the records' pseudonyms: made durable before the first line that uses a new one. */
  readonly identities?: Identities | undefined
  /**
   * `before-response`, the default: `done` is called when the record is durable. `async`: at once, and a crash may lose what
   * was appended within the last moments. `best-effort`: when it is durable, but what finds no room or cannot be written is dropped and counted, so
   * nobody should wait. An `append` may say otherwise of its record.
   */
  readonly durability?: Durability | undefined
  /** A segment that has grown to so many bytes is followed by a new one. Default 64 MiB. */
  readonly maxSegmentBytes?: number | undefined
  /** A segment that was begun so many seconds ago is followed by a new one. Default 86,400: a day. */
  readonly maxSegmentSeconds?: number | undefined
  /**
   * Compresses segments (gzip) that are no longer written, once they are under a checkpoint. Default false: what follows the log as
   * files may not have read them yet.
   */
  readonly compressSegments?: boolean | undefined
  /**
   * Deletes whole segments that hold only records older than this, by the record's time, and their entry bundles. Hashes stay, so that proofs of
   * those records still hold, and a record `log:retire` says so. Left out: everything is kept.
   */
  readonly retainSeconds?: number | undefined
  /** How much longer than `retainSeconds` records are kept for what follows the log and has not had them. Default 604,800: a week. */
  readonly maxHoldSeconds?: number | undefined
  /** Tiles and checkpoint follow a record within this time. Default 1000. */
  readonly checkpointIntervalMs?: number | undefined
  /** UTF-16 code units of lines, about, that may wait, beside those being written, before records are refused. Default 16,777,216. */
  readonly maxWaitingUnits?: number | undefined
  /**
   * Bytes of the disk that are kept for records of principals: with less free, refusals of strangers are counted and no longer written.
   * Default 268,435,456.
   */
  readonly reservedBytes?: number | undefined
  /** How long `close` waits for each of its steps. Default 5000. */
  readonly closeTimeoutMs?: number | undefined
  /** Milliseconds since the epoch, for the log's own records. Default `Date.now`. */
  readonly clock?: (() => number) | undefined
  /** Told of every checkpoint that was published: the place to hand it to a witness or a second sink. */
  readonly onCheckpoint?: ((checkpoint: Checkpoint) => void) | undefined
  /**
   * Who cosigns checkpoints (C2SP tlog-witness): `url` is a witness' submission prefix, `verifierKey` its `vkey`. They are asked beside the log and never in its
   * way; what they cosigned is kept in the log's folder. Until one has, nobody but this machine vouches for the log. Default none.
   */
  readonly witnesses?: readonly WitnessAddress[] | undefined
  /** Milliseconds between two checkpoints that a witness is asked to cosign; after a failure the time doubles, up to 15 minutes. Default 10,000. */
  readonly witnessIntervalMs?: number | undefined
  /** Milliseconds that a witness may take for an answer. Default 5000. */
  readonly witnessTimeoutMs?: number | undefined
  /** Told of every failure to write, sign, publish or have cosigned. Default: a process warning. */
  readonly onError?: ((error: Error) => void) | undefined
}

/** A witness as a log's options name it. */
export interface WitnessAddress {
  readonly url: string
  readonly verifierKey: string
}

/** Reads the address of a witness, and its key. */
export const readWitness: Reader<WitnessPlace> = (value, path) => {
  const { url, verifierKey } = object({ url: readUrl, verifierKey: string() })(value, path)
  return { url, key: parseWitnessKey(verifierKey) }
}

/** {@link LogOptions} with the defaults filled in. */
export type ReadLogOptions = ReturnType<typeof readLogOptions>

/**
 * Checks options and fills in what was left out.
 * @throws FMG_ERR_OPTION_INVALID naming the first that is not right.
 */
export const readLogOptions = object({
  directory: string(),
  origin: anyThat((value): value is string => typeof value === 'string' && isKeyName(value), 'a name without spaces, control characters and +'),
  signer: havingMethods<Signer>('sign'),
  identities: optional(havingMethods<Identities>('principal', 'flush')),
  durability: withDefault(oneOf<Durability>('before-response', 'async', 'best-effort'), 'before-response'),
  reservedBytes: withDefault(integer({ min: 0 }), 268_435_456),
  maxSegmentBytes: withDefault(integer({ min: 1, max: 4_294_967_296 }), 67_108_864),
  maxSegmentSeconds: withDefault(integer({ min: 1 }), 86_400),
  compressSegments: withDefault(boolean, false),
  retainSeconds: optional(integer({ min: 1 })),
  maxHoldSeconds: withDefault(integer({ min: 0 }), 604_800),
  checkpointIntervalMs: withDefault(integer({ min: 1, max: 2_147_483_647 }), 1000),
  maxWaitingUnits: withDefault(integer({ min: 1 }), 16_777_216),
  closeTimeoutMs: withDefault(integer({ min: 1, max: 2_147_483_647 }), 5000),
  clock: withDefault(functionOf<() => number>(), Date.now),
  onCheckpoint: withDefault(functionOf<(checkpoint: Checkpoint) => void>(), ignore),
  witnesses: withDefault(listOf(readWitness), []),
  witnessIntervalMs: withDefault(integer({ min: 1, max: 900_000 }), 10_000),
  witnessTimeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5000),
  onError: withDefault(functionOf<(error: Error) => void>(), warn)
})

function ignore (): void {}

function warn (error: Error): void {
  process.emitWarning(error)
}
