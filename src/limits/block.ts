import { integer, object, optional, optionInvalid, withDefault, type Read, type Reader } from '../options.ts'
import { readName, type Approved } from '../approval.ts'

/** When a principal is blocked, and for how long. */
export interface BackoffOptions {
  /**
   * Refusals, by windows of the principal's own, that lead to a block. At least 2. Default 100: who has one request at a time, and waits
   * as `Retry-After` says, is refused at most 60 times a minute, and so never blocked.
   */
  readonly violations?: number
  /** Within which they must come. Default 60. */
  readonly withinSeconds?: number
  /** The first block; each one after it is twice as long. Default 30. */
  readonly firstSeconds?: number
  /** The longest. At most a week. Default 3600. */
  readonly maxSeconds?: number
  /** Without a block, after which the next is half as long again. Default 3600. */
  readonly decaySeconds?: number
}

/** All of them. */
export type Backoff = Required<BackoffOptions>

const seconds = integer({ min: 1, max: 7 * 86_400 })
const readMembers = object({
  violations: withDefault(integer({ min: 2, max: 1_000_000 }), 100),
  withinSeconds: withDefault(seconds, 60),
  firstSeconds: withDefault(seconds, 30),
  maxSeconds: withDefault(seconds, 3600),
  decaySeconds: withDefault(seconds, 3600)
})

/** Option `backoff`. */
export const readBackoff: Reader<Backoff> = (value, path) => {
  const backoff = readMembers(value ?? {}, path)
  if (backoff.maxSeconds < backoff.firstSeconds) throw optionInvalid(`${path}.maxSeconds`, `at least firstSeconds (${backoff.firstSeconds})`, backoff.maxSeconds)
  return backoff
}

const time = integer({ min: 0 })

/** Reads what is kept of a principal that was blocked. */
export const readBlock = object({
  principal: readName,
  /** Higher with every block, and when one is lifted: an older one of the same principal counts for nothing. */
  version: integer({ min: 1 }),
  /** How many blocks are remembered, this one included; 0 when it was lifted. */
  level: integer({ min: 0 }),
  /** How long it is. */
  seconds: integer({ min: 0 }),
  /** Milliseconds since the epoch. */
  until: time,
  /** Milliseconds since the epoch, when nothing of it counts any more. */
  forgetAt: time,
  /** Who asked and who approved that it be lifted. */
  requestedBy: optional(readName),
  approvedBy: optional(readName)
})

/** A block that runs, has run and is remembered, or was lifted. */
export type Block = Read<typeof readBlock>

/**
 * The block of a principal that was blocked before, or never. `n` blocks in a row last `firstSeconds` × (2ⁿ - 1) together, until each is
 * `maxSeconds`; each `decaySeconds` since the last one ended takes one off `n`.
 * @param now milliseconds since the epoch.
 */
export function nextBlock (principal: string, before: Block | undefined, { firstSeconds, maxSeconds, decaySeconds }: Backoff, now: number): Block {
  const highest = Math.ceil(Math.log2(maxSeconds / firstSeconds)) + 1
  const level = Math.min(highest, levelNow(before, decaySeconds, now) + 1)
  const length = Math.min(maxSeconds, firstSeconds * 2 ** (level - 1))
  const until = now + length * 1000
  return { principal, version: versionAfter(before, now), level, seconds: length, until, forgetAt: until + level * decaySeconds * 1000, requestedBy: undefined, approvedBy: undefined }
}

function levelNow (before: Block | undefined, decaySeconds: number, now: number): number {
  if (before === undefined) return 0
  return Math.max(0, before.level - Math.floor(Math.max(0, now - before.until) / (decaySeconds * 1000)))
}

/** A block that is lifted, and forgiven. Remembered as long as it would have been: who brings it back brings back nothing. */
export function liftedBlock ({ principal, version, forgetAt }: Block, { requestedBy, approvedBy }: Approved, now: number): Block {
  return { principal, version: versionAfter({ version }, now), level: 0, seconds: 0, until: now, forgetAt, requestedBy, approvedBy }
}

/** By the time, so that it grows although what was before is forgotten; but never by that alone, which may be set back. */
function versionAfter (before: Pick<Block, 'version'> | undefined, now: number): number {
  return Math.max((before?.version ?? 0) + 1, now)
}

/** Whether a block counts in the place of another of the same principal. Of two that nodes decided at once, the one that ends last. */
export function isNewer (block: Block, than: Block | undefined): boolean {
  if (than === undefined) return true
  return block.version > than.version || (block.version === than.version && block.until > than.until)
}
