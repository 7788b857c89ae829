import type { WatchEvent } from './event.ts'
import type { RuleName } from './watch-options.ts'

/** What a rule has found. */
export interface Finding {
  /** What was measured, and from which value on it is too much. */
  readonly measured: number
  readonly threshold: number
  /** Seqs of records that say so; of many, the last. Changes as more is seen. */
  readonly evidence: readonly number[]
}

/** Follows one identity: told of each of its requests in turn, it tells when it has found something. */
export type Follower = (event: WatchEvent) => Finding | undefined

/** One thing to watch for. */
export interface Rule {
  readonly name: RuleName
  /** For how long it is silent about an identity after an alert. */
  readonly quietSeconds: number
  follow (): Follower
}
