import type { Approved } from '../approval.ts'
import type { Backoff, Block } from './block.ts'

/** A block that a node decided or has heard of, or that was lifted. */
export interface BlockChange {
  readonly kind: 'block' | 'lift'
  readonly block: Block
}

/** Who is blocked. */
export interface Blocks {
  /** Whole seconds, rounded up, that this principal is still blocked; 0 when it is not. Asked on every request: at once, from memory. */
  secondsLeft (principal: string): number
  /** How often it was blocked or unblocked, as far as is remembered. */
  versionOf (principal: string): number
  /**
   * Blocks a principal, for longer than the last time. Counts here at once; the others are told within a second, or when the store is back.
   * @throws what the listener of `whenChanged` throws; the block then counts all the same.
   */
  block (principal: string, backoff: Backoff): Promise<void>
  /**
   * Ends the block of this principal, and forgets those before it; `false` when it is not blocked.
   * @throws FMG_ERR_OPTION_INVALID where it lifts its own.
   * @throws FMG_ERR_LIMITER_UNAVAILABLE when the others could not be told yet: it is lifted here, and they are told when the store is back.
   * @throws what the listener of `whenChanged` throws.
   */
  lift (principal: string, by: Approved): Promise<boolean>
  /** Those that run, the one that ends last first. */
  list (): readonly Block[]
  /** Has this one told of every block and lift from now on that this node makes or hears of; own ones wait for it. */
  whenChanged (listener: (change: BlockChange) => Promise<void>): void
  close (): Promise<void>
}
