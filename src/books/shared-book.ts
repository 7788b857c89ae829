import { optionInvalid } from '../options.ts'
import type { BookChange } from './change-book.ts'
import type { Book, BookRecord } from './sealed-book.ts'

/** A book that several nodes read and write. */
export interface SharedBook<R extends BookRecord> {
  /** As far as this node has heard. */
  readonly current: Book<R>
  /** Whether that is recent enough to be stood by, or is to be stood by however old it is. */
  isTrusted (): boolean
  /** Reads it whole. @throws the form's error. */
  load (): Promise<void>
  /**
   * Changes what is there now; gives the record, or `null` when `edit` does.
   * @param edit may be called again, where another node was faster.
   * @throws the form's error.
   */
  change (edit: (current: Book<R>) => BookChange<R> | null): Promise<R | null>
  close (): Promise<void>
}

/** Called whenever a node knows more than before, by its own change too; the first time when it has read the book. Must not throw. */
export type OnChange<R extends BookRecord> = (now: Book<R>, before: Book<R>) => void

/** What a node does that has been without news for longer than it may. */
export type OnStale = 'refuse' | 'serve'

/** @throws FMG_ERR_OPTION_INVALID where a heartbeat would not come often enough to be missed once. */
export function checkHeartbeat ({ heartbeatMs, maxStalenessMs }: { readonly heartbeatMs: number, readonly maxStalenessMs: number }, path: string): void {
  if (maxStalenessMs < 2 * heartbeatMs) throw optionInvalid(`${path}.maxStalenessMs`, `at least twice heartbeatMs (${heartbeatMs})`, maxStalenessMs)
}
