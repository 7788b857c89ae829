import { guardError } from '../errors.ts'
import { pickKey, type KeySet } from './key-set.ts'
import type { VerificationKey } from './verification-key.ts'

export interface CachedKeysOptions {
  /** Keys younger than this are not asked for again, but for an unknown key id. */
  readonly maxAgeMs: number
  /** Keys older than this count no more, even when the issuer cannot be reached. */
  readonly maxStaleMs: number
  /** Between two attempts, whatever the reason of the second. */
  readonly cooldownMs: number
  readonly clock: () => number
}

interface Attempt {
  readonly at: number
  readonly failure: unknown
}

/** Keys that are loaded from where they are published. Tokens of strangers cause one request a cool-down at most; while the issuer is down, keys that are not too old still count. */
export function cachedKeys ({ maxAgeMs, maxStaleMs, cooldownMs, clock }: CachedKeysOptions, load: () => Promise<readonly VerificationKey[]>): KeySet {
  let keys: readonly VerificationKey[] = []
  let fetchedAt = -Infinity
  let last: Attempt = { at: -Infinity, failure: undefined }
  let running: Promise<void> | undefined

  const age = (): number => clock() - fetchedAt
  const isCoolingDown = (): boolean => clock() - last.at < cooldownMs

  return {
    async find (kid, algorithm) {
      const known = age() < maxAgeMs ? pickKey(keys, kid, algorithm) : null
      if (known !== null) return known
      await refresh()
      const found = age() < maxStaleMs ? pickKey(keys, kid, algorithm) : null
      // Whether an unknown key is a new one only the issuer can say.
      if (found === null && last.failure !== undefined) throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'issuer-unavailable', cause: last.failure })
      return found
    },
    trusts: (key) => keys.includes(key) && (age() < maxAgeMs || (age() < maxStaleMs && isCoolingDown()))
  }

  async function refresh (): Promise<void> {
    if (running === undefined && isCoolingDown()) return
    running ??= attempt().finally(() => { running = undefined })
    await running
  }

  async function attempt (): Promise<void> {
    const at = clock()
    try {
      keys = keepKnown(await load(), keys)
      fetchedAt = at
      last = { at, failure: undefined }
    } catch (failure) {
      last = { at, failure }
    }
  }
}

// A key that is published again stays the object it was, so that tokens verified with it stay known.
function keepKnown (fetched: readonly VerificationKey[], known: readonly VerificationKey[]): readonly VerificationKey[] {
  return fetched.map((key) => known.find((other) => other.kid === key.kid && other.algorithm === key.algorithm && other.key.equals(key.key)) ?? key)
}
