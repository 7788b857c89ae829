import type { Read } from '../options.ts'
import type { Approved } from '../approval.ts'
import type { LimitException, readNewException } from './exception.ts'

/** An exception that is to be made, as an operator states it. */
export type NewException = Partial<Read<typeof readNewException>> & Approved & Pick<LimitException, 'principal' | 'reason'>

/** An exception that a node has heard of: made, or made anew in place of the one before, or ended. */
export interface ExceptionChange {
  readonly kind: 'raise' | 'end'
  readonly exception: LimitException
}

/** Quotas of single principals that differ from those of their tiers. */
export interface Exceptions {
  /** Asked on every request: at once, from memory, and never throws. The same object until it is changed. */
  find (principal: string): LimitException | undefined
  /** All that are in force. @throws FMG_ERR_LIMITER_UNAVAILABLE, FMG_ERR_FILE when they cannot be read. */
  list (): Promise<readonly LimitException[]>
  /**
   * Makes an exception, in the place of the one that the principal may have. When this resolves it counts here and is told to the others.
   * @throws FMG_ERR_OPTION_INVALID for what cannot be: a window that no tier has, an end that is over, one person who asks and approves.
   * @throws FMG_ERR_LIMITER_UNAVAILABLE when it could not be written.
   * @throws what the listener of `whenChanged` throws; the exception then counts all the same.
   */
  raise (exception: NewException): Promise<LimitException>
  /**
   * Ends the exception of this principal; `false` when there is none.
   * @throws as `raise`.
   */
  end (principal: string, by: Approved): Promise<boolean>
  /** Has this one told of every change from now on that this node makes or hears of; own ones wait for it. */
  whenChanged (listener: (change: ExceptionChange) => Promise<void>): void
  close (): Promise<void>
}
