import { createSecretKey } from 'node:crypto'
import { guardError } from '../errors.ts'
import { isByTwo } from '../approval.ts'
import { functionOf, havingMethods, integer, listOf, object, string, withDefault } from '../options.ts'
import { freezePrincipal, type Principal } from '../principal.ts'
import { addressTest } from './address-ranges.ts'
import { parseApiKey } from './api-key-format.ts'
import type { Authenticator } from './authenticator.ts'
import { credentialCache } from './credential-cache.ts'
import { digestsEqual, keyDigest } from './key-digest.ts'
import { keySources } from './key-sources.ts'
import type { KeyRecord, KeyStore } from './key-store.ts'
import { dayMs, hourMs, readMaxLifetimeDays } from './key-terms.ts'
import { readPepperBytes } from '../pepper.ts'
import type { PresentedCredential } from './presented-credential.ts'

export interface ApiKeyOptions {
  readonly store: KeyStore
  /** At least 32 bytes, kept apart from the store. */
  readonly pepper: Uint8Array
  /** The longest life of a secret, whatever its record says. Default 366. */
  readonly maxLifetimeDays?: number
  /**
   * Roles whose keys count only when two people made them: one who asked, and another who approved the last change, the rotation of a secret
   * included. Their names are the word of whoever runs the command: this keeps one person from doing it alone by oversight, not two who
   * agree to lie. Default none.
   */
  readonly approvedRoles?: readonly string[]
  /** How many verified keys are remembered. Default 100,000. */
  readonly maxCached?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  store: havingMethods<KeyStore>('find'),
  pepper: readPepperBytes,
  maxLifetimeDays: readMaxLifetimeDays,
  approvedRoles: withDefault(listOf(string()), []),
  maxCached: withDefault(integer({ min: 1 }), 100_000),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

interface Verified {
  readonly record: KeyRecord
  readonly principal: Principal
  /** Of the very secret that was presented. */
  readonly expiresAt: number
  /** Absent for a key that may come from everywhere, so that a request's address need not be worked out. */
  readonly comesFrom?: (address: string) => boolean
  /** From then on, a use is noted. */
  noteAt: number
  /** What the store stood by when it was last asked of the record. */
  revision: object | null
}

// Stands for a digest that is not there, so that an unknown key id costs what a wrong secret costs.
const nobody = '0'.repeat(64)

/**
 * API keys, in `x-api-key` or `Authorization: Bearer`.
 * A credential that does not begin with `fmg_` is `null` under `Bearer` (it may be a token) and bad under `x-api-key`.
 */
export function apiKey (options: ApiKeyOptions): Authenticator {
  const { store, pepper, maxLifetimeDays, approvedRoles, maxCached, clock } = readOptions(options, 'apiKey')
  const pepperKey = createSecretKey(pepper)
  const verified = credentialCache<Verified>(maxCached)
  const sources = keySources({ store, maxLifetimeDays, clock })

  return {
    verifiesCheaply: true,
    isMine,
    publicId: ({ value }) => parseApiKey(value)?.keyId,
    recall (presented, facts) {
      if (!isMine(presented)) return null
      const known = verified.get(presented.value)
      if (known === undefined || !isUnchanged(known)) return null
      const now = clock()
      if (now >= known.expiresAt || known.comesFrom?.(facts.address) === false) return null
      noteUse(known, now)
      return known.principal
    },
    async authenticate (presented, facts) {
      if (!isMine(presented)) return null
      const key = parseApiKey(presented.value)
      if (key === null) throw bad('api-key-malformed')
      const record = await store.find(key.keyId)
      const now = clock()
      const digest = keyDigest(pepperKey, presented.value)
      const known = checkKey(record, secretOf(record, digest), maxLifetimeDays, now)
      if (known.comesFrom?.(facts.address) === false) throw bad('api-key-address')
      if (approvedRoles.some((role) => known.principal.roles.includes(role)) && !isByTwo(known.record.approval)) throw bad('api-key-unapproved')
      verified.set(presented.value, known)
      sources.note(known.principal, known.record, digest)
      noteUse(known, now)
      return known.principal
    },
    sourceOf: (principal) => sources.sourceOf(principal),
    vouches: (source, facts) => sources.vouches(source, facts)
  }

  function isUnchanged (known: Verified): boolean {
    const revision = store.revision?.() ?? null
    if (revision !== null && revision === known.revision) return true
    // The store gives the same object for as long as nothing about the key has changed.
    if (store.recall?.(known.record.keyId) !== known.record) return false
    known.revision = revision
    return true
  }

  function noteUse (known: Verified, now: number): void {
    if (now < known.noteAt) return
    known.noteAt = now + hourMs
    store.noteUse?.(known.record.keyId, now - now % hourMs)
  }
}

function isMine ({ scheme, value }: PresentedCredential): boolean {
  return scheme === 'x-api-key' || (scheme === 'bearer' && value.startsWith('fmg_'))
}

/** One of the two secrets that a key may have. */
interface Secret {
  readonly digest: string
  readonly expiresAt: number
  /** `undefined` of the one before: what was rotated away is no fresh secret. */
  readonly issuedAt: number | undefined
  /** Why it is refused from then on. */
  readonly whenOver: string
}

/** Which secret was presented: two comparisons, whatever the outcome. */
function secretOf (record: KeyRecord | null, digest: string): Secret | undefined {
  const secrets: readonly Secret[] = [
    { digest: record?.digest ?? nobody, expiresAt: record?.expiresAt ?? 0, issuedAt: record?.issuedAt, whenOver: 'api-key-expired' },
    { digest: record?.previous?.digest ?? nobody, expiresAt: record?.previous?.graceExpiresAt ?? 0, issuedAt: undefined, whenOver: 'api-key-rotated' }
  ]
  return secrets.filter((secret) => digestsEqual(digest, secret.digest))[0]
}

function checkKey (record: KeyRecord | null, secret: Secret | undefined, maxLifetimeDays: number, now: number): Verified {
  if (record === null) throw bad('api-key-unknown')
  if (secret === undefined) throw bad('api-key-wrong-secret')
  if (record.revokedAt !== undefined) throw bad('api-key-revoked')
  const expiresAt = Math.min(secret.expiresAt, record.issuedAt + maxLifetimeDays * dayMs)
  if (now >= expiresAt) throw bad(secret.whenOver)
  const comesFrom = record.allowedAddresses.length === 0 ? undefined : addressTest(record.allowedAddresses)
  return { record, principal: principalOf(record, { ...secret, expiresAt }), expiresAt, comesFrom, noteAt: 0, revision: null }
}

function principalOf ({ keyId, principal }: KeyRecord, { expiresAt, issuedAt }: Secret): Principal {
  const limit = principal.scopes.length > 0 ? { limitedTo: principal.scopes } : {}
  return freezePrincipal({ ...principal, credential: { method: 'api-key', id: keyId, expiresAt, ...issuedAt !== undefined && { issuedAt }, ...limit } })
}

function bad (reason: string): Error {
  return guardError('FMG_ERR_CREDENTIAL_INVALID', { reason })
}
