import { allOptional, integer, withDefault } from '../options.ts'

export interface FailedAttemptsOptions {
  /** Bad credentials from one address (IPv6: a /64) in the window before it is blocked. From the half of it on answers are delayed. Default 60. */
  readonly maxByAddress?: number
  /** The same for one public id (that of an API key) from one address. Default 10. */
  readonly maxById?: number
  /** In which as many are forgotten as lead to a block. Default 300. */
  readonly windowSeconds?: number
  /** The longest delay. Default 2,000; 0 for none. */
  readonly maxDelayMs?: number
}

/** Option `failedAttempts`. */
export const readFailedAttempts = allOptional({
  maxByAddress: withDefault(integer({ min: 1 }), 60),
  maxById: withDefault(integer({ min: 1 }), 10),
  windowSeconds: withDefault(integer({ min: 1, max: 86_400 }), 300),
  maxDelayMs: withDefault(integer({ min: 0, max: 60_000 }), 2000)
})

/** What a bad credential leads to beside its refusal. */
export interface Consequence {
  readonly delayMs: number
  /** 0 when not blocked; else whole seconds until the next bad credential is answered as one. */
  readonly blockedSeconds: number
}

/** Bad credentials, counted where they come from. */
export interface FailedAttempts {
  /** Counts one. @param id the public part of the credential, where it has one. */
  note (address: string, id: string | undefined): Consequence
}

/** What has failed, less what was forgotten since. */
interface Count {
  level: number
  /** Milliseconds, when the level was last worked out. */
  at: number
}

const maxCounts = 100_000
const firstDelayMs = 50

/**
 * Counts bad credentials by address, and by public id and address together: never by id alone, or a stranger who knows a key's
 * id could block its owner. It is asked after a credential was found bad: a good one always passes.
 * @param now milliseconds; a clock that no one can set back.
 */
export function failedAttempts (options: Required<FailedAttemptsOptions>, now: () => number = () => performance.now()): FailedAttempts {
  const { maxByAddress, maxById, windowSeconds, maxDelayMs } = options
  const counts = new Map<string, Count>()

  /** @returns how many have failed lately, this one included: more than `max` is a block. */
  function add (name: string, max: number): number {
    const time = now()
    const { level, at } = counts.get(name) ?? { level: 0, at: time }
    const left = Math.max(0, level - (time - at) / 1000 * max / windowSeconds)
    // No block outlasts the window.
    const next = Math.min(left + 1, 2 * max)
    // What failed last is forgotten last.
    counts.delete(name)
    counts.set(name, { level: next, at: time })
    if (counts.size > maxCounts) counts.delete(String(counts.keys().next().value))
    return next
  }

  function consequence (level: number, max: number): Consequence {
    const late = level - max / 2
    return {
      delayMs: late > 0 ? Math.min(maxDelayMs, firstDelayMs * 2 ** Math.floor(late)) : 0,
      blockedSeconds: level > max ? Math.ceil((level - max) * windowSeconds / max) : 0
    }
  }

  return {
    note (address, id) {
      const ofAddress = consequence(add(address, maxByAddress), maxByAddress)
      if (id === undefined) return ofAddress
      const ofId = consequence(add(`${address} ${id}`, maxById), maxById)
      return { delayMs: Math.max(ofAddress.delayMs, ofId.delayMs), blockedSeconds: Math.max(ofAddress.blockedSeconds, ofId.blockedSeconds) }
    }
  }
}
