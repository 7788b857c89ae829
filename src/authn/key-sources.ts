import { hash } from 'node:crypto'
import { canonicalJson } from '../encoding.ts'
import type { Principal } from '../principal.ts'
import { addressTest } from './address-ranges.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import { dayMs } from './key-terms.ts'
import type { RequestFacts } from './request-facts.ts'
import type { Source, TokenSource } from './source.ts'

export interface KeySourcesOptions {
  readonly store: KeyStore
  readonly maxLifetimeDays: number
  readonly clock: () => number
}

/** API keys that tokens were made from: of each the very secret, and what its record said at the time. */
export interface KeySources {
  /** Notes what a principal was made from. @param digest of the secret that was presented. */
  note (principal: Principal, record: KeyRecord, digest: string): void
  sourceOf (principal: Principal): TokenSource | null
  vouches (source: Source, facts: RequestFacts): boolean
}

/** What a record says of tokens that were made from its key. */
interface Standing {
  /** Of each secret, when it ends. */
  readonly ends: ReadonlyMap<string | undefined, number>
  readonly comesFrom: (address: string) => boolean
}

/** What ties tokens to API keys. */
export function keySources ({ store, maxLifetimeDays, clock }: KeySourcesOptions): KeySources {
  const noted = new WeakMap<Principal, { readonly record: KeyRecord, readonly digest: string }>()
  // By the object, which is the same for as long as nothing about the key has changed.
  const standings = new WeakMap<KeyRecord, Standing>()

  function standingOf (record: KeyRecord): Standing {
    const known = standings.get(record) ?? readStanding(record, record.issuedAt + maxLifetimeDays * dayMs)
    standings.set(record, known)
    return known
  }

  return {
    note (principal, record, digest) { noted.set(principal, { record, digest }) },
    sourceOf (principal) {
      const made = noted.get(principal)
      if (made === undefined) return null
      const { method, id, expiresAt } = principal.credential
      return { source: { method, id, expiresAt, state: stateOf(made.record, made.digest) }, binding: null, via: [] }
    },
    vouches ({ method, id, state }, facts) {
      const record = method === 'api-key' ? recordAtOnce(store, id) : null
      if (record === null) return false
      const { ends, comesFrom } = standingOf(record)
      return clock() < (ends.get(state) ?? 0) && comesFrom(facts.address)
    }
  }
}

/** A store that has to be waited for cannot be asked at every request. */
function recordAtOnce (store: KeyStore, keyId: string): KeyRecord | null {
  const record = store.recall?.(keyId) ?? store.find(keyId)
  if (!(record instanceof Promise)) return record
  record.catch(() => undefined)
  return null
}

function readStanding (record: KeyRecord, longest: number): Standing {
  const { digest, expiresAt, previous, revokedAt, allowedAddresses } = record
  const secrets = [{ digest, expiresAt }, ...previous === undefined ? [] : [{ digest: previous.digest, expiresAt: previous.graceExpiresAt }]]
  return {
    ends: new Map(revokedAt === undefined ? secrets.map((secret) => [stateOf(record, secret.digest), Math.min(secret.expiresAt, longest)]) : []),
    comesFrom: allowedAddresses.length === 0 ? () => true : addressTest(allowedAddresses)
  }
}

/** Another one as soon as the key is another's or may do something else; and for each of its two secrets. Where it may come from is asked each time. */
function stateOf ({ principal }: KeyRecord, digest: string): string {
  return hash('sha256', canonicalJson({ digest, principal }), 'base64url')
}
