/** What is kept of identities, in bounded memory. */
export interface Tracked<T> {
  /** What is kept of this one, made at first sight. @param time of its request; milliseconds since the epoch. */
  of (subject: string, time: number): T
  /** Whether it has been there on several days. */
  isEstablished (subject: string): boolean
}

interface Kept<T> {
  readonly state: T
  requests: number
  days: number
  lastDay: number
  rank: Rank<T>
}

/** Those of one rank, the one that was longest away first. */
interface Rank<T> {
  readonly kept: Map<string, Kept<T>>
  readonly max: number
}

const dayMs = 86_400_000
const risingRequests = 16
const establishedDays = 3

/**
 * Three ranks: seen a few times, seen often, seen on three days. A rank that is full forgets the one of its own that was longest away: no number of
 * identities that are made up today drives out one that is established, nor one that is busy.
 */
export function tracked<T> (max: number, create: (subject: string) => T): Tracked<T> {
  const rank = (share: number): Rank<T> => ({ kept: new Map(), max: Math.max(1, Math.floor(max * share)) })
  const [fresh, rising, established] = [rank(1 / 8), rank(1 / 8), rank(3 / 4)]

  function find (subject: string): Kept<T> | undefined {
    return established.kept.get(subject) ?? rising.kept.get(subject) ?? fresh.kept.get(subject)
  }

  function rankOf ({ requests, days }: Kept<T>): Rank<T> {
    if (days >= establishedDays) return established
    return requests >= risingRequests ? rising : fresh
  }

  function place (subject: string, kept: Kept<T>): void {
    kept.rank.kept.delete(subject)
    kept.rank = rankOf(kept)
    const { kept: others, max: most } = kept.rank
    others.set(subject, kept)
    if (others.size > most) others.delete(String(others.keys().next().value))
  }

  return {
    isEstablished: (subject) => established.kept.has(subject),
    of (subject, time) {
      const kept = find(subject) ?? { state: create(subject), requests: 0, days: 0, lastDay: -Infinity, rank: fresh }
      const day = Math.floor(time / dayMs)
      kept.requests++
      if (day > kept.lastDay) {
        kept.days++
        kept.lastDay = day
      }
      place(subject, kept)
      return kept.state
    }
  }
}
