import { storeFailure } from './ask-store.ts'

/** A token as it was given, or renewed. */
export interface TokenLease {
  readonly token: string
  /** How long it lives from then on; 0: without end. */
  readonly seconds: number
  readonly isRenewable: boolean
}

/** Runs something later; what it gives takes that back. */
export type Later = (run: () => void, delayMs: number) => () => void

export interface TokenKeeperOptions {
  /** @param until as in {@link StoreQuestion}. */
  readonly logIn: (until: number) => Promise<TokenLease>
  /** Gives nothing for a token that is not renewed any more. */
  readonly renew: (token: string, until: number) => Promise<TokenLease | undefined>
  /** Milliseconds, of any beginning. */
  readonly clock: () => number
  readonly later: Later
  /** Milliseconds for one login or renewal. */
  readonly timeoutMs: number
}

/** Has a token whenever one is wanted, in memory alone. */
export interface TokenKeeper {
  /** The token, got now where there is none; all who ask meanwhile wait for the same. */
  token (until: number): Promise<string>
  /** This one was refused. */
  drop (token: string): void
  /** Ends renewals. Gives the token that was still there. */
  close (): Promise<string | undefined>
}

// Two thirds are long enough to save questions, and leave time for a store that is down for a while.
const renewAfter = 2 / 3
const minDelayMs = 1000
// Timers of Node hold 24 days; a lease may be longer.
const maxDelayMs = 86_400_000

interface Held extends TokenLease {
  readonly endsAt: number
}

/** Keeps one token, renewed before its lease ends also while nobody asks: a token that was given, or a secret id that is good once, is not to be had again. */
export function tokenKeeper ({ logIn, renew, clock, later, timeoutMs }: TokenKeeperOptions): TokenKeeper {
  let held: Held | undefined
  let pending: Promise<string> | undefined
  let cancel = (): void => undefined
  let isClosed = false

  function schedule (untilEndMs: number): void {
    cancel()
    if (!isClosed) cancel = later(refresh, Math.min(maxDelayMs, Math.max(minDelayMs, untilEndMs * renewAfter)))
  }

  async function take (get: () => Promise<TokenLease>): Promise<string> {
    const from = clock()
    const lease = await get()
    const endsAt = lease.seconds === 0 ? Infinity : from + lease.seconds * 1000
    held = { ...lease, endsAt }
    if (endsAt < Infinity) schedule(endsAt - clock())
    return lease.token
  }

  /** One at a time, for all. */
  async function obtain (get: () => Promise<TokenLease>): Promise<string> {
    pending ??= take(get).finally(() => { pending = undefined })
    return await pending
  }

  async function renewed (until: number): Promise<TokenLease> {
    const last = held
    const lease = last?.isRenewable === true ? await renew(last.token, until) : undefined
    if (last === undefined || lease === undefined) return await logIn(until)
    // Less than before: the longest life is near, and the next one would be shorter still.
    return { ...lease, isRenewable: lease.isRenewable && lease.seconds >= last.seconds }
  }

  function refresh (): void {
    obtain(async () => await renewed(clock() + timeoutMs)).catch(() => {
      // The token is good for as long as it was; whoever asks after that is told why there is none.
      if (held !== undefined && held.endsAt > clock()) schedule(held.endsAt - clock())
    })
  }

  return {
    async token (until) {
      if (isClosed) throw storeFailure('store-closed', 'the client was closed')
      return held !== undefined && held.endsAt > clock() ? held.token : await obtain(async () => await logIn(until))
    },
    drop (token) {
      if (held?.token !== token) return
      held = undefined
      cancel()
    },
    async close () {
      isClosed = true
      cancel()
      await pending?.catch(() => undefined)
      return held?.token
    }
  }
}
