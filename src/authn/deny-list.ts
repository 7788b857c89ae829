/** What of a token may be denied. */
export interface DeniableToken {
  readonly issuer: string
  readonly subject: string
  readonly tokenId: string | undefined
  readonly session: string | undefined
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
}

/** Tokens that count no more, although they have not expired. */
export interface DenyList {
  /** Asked on every request, for tokens verified before too: must answer at once. */
  denies (token: DeniableToken): boolean
}

/** Which tokens of an issuer are denied: one, those of a subject, those of a session, or (with none of these) all. */
export interface Denial {
  readonly issuer: string
  readonly tokenId?: string
  readonly subject?: string
  readonly session?: string
  /** Milliseconds since the epoch: only tokens issued before. Left out, whenever they were issued. */
  readonly issuedBefore?: number
  /** Milliseconds since the epoch, when every token this is about has expired. Left out, forever. */
  readonly until?: number
}

export interface MemoryDenyList extends DenyList {
  /** Counts from the next request on. A denial is made wider by a second one, never narrower. */
  deny (denial: Denial): void
  readonly size: number
}

interface Entry {
  readonly issuedBefore: number
  readonly until: number
}

/** A deny-list of this process. @param clock milliseconds since the epoch. */
export function memoryDenyList (clock: () => number = Date.now): MemoryDenyList {
  const entries = new Map<string, Entry>()

  function isDenied (key: string, issuedAt: number): boolean {
    const entry = entries.get(key)
    return entry !== undefined && issuedAt < entry.issuedBefore
  }

  return {
    deny ({ issuer, tokenId, subject, session, issuedBefore = Infinity, until = Infinity }) {
      for (const [key, entry] of entries) if (entry.until <= clock()) entries.delete(key)
      for (const key of keysOf({ issuer, tokenId, subject, session })) {
        const before = entries.get(key)
        entries.set(key, { issuedBefore: Math.max(issuedBefore, before?.issuedBefore ?? 0), until: Math.max(until, before?.until ?? 0) })
      }
    },
    denies ({ issuer, tokenId, subject, session, issuedAt }) {
      if (entries.size === 0) return false
      return isDenied(keyOf(issuer, 'all', ''), issuedAt) || keysOf({ issuer, tokenId, subject, session }).some((key) => isDenied(key, issuedAt))
    },
    get size () { return entries.size }
  }
}

/** Each of these is denied for itself; with none of them, the issuer is. */
function keysOf ({ issuer, tokenId, subject, session }: Denial): readonly string[] {
  const named = Object.entries({ tokenId, subject, session }).flatMap(([kind, value]) => value === undefined ? [] : [keyOf(issuer, kind, value)])
  return named.length === 0 ? [keyOf(issuer, 'all', '')] : named
}

function keyOf (issuer: string, kind: string, value: string): string {
  return JSON.stringify([issuer, kind, value])
}
