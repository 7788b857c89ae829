import type { Approved } from '../approval.ts'
import { optionInvalid } from '../options.ts'
import { drawApiKey, formatApiKey, isEnvironment } from './api-key-format.ts'
import { readApproval, type CreatedApiKey } from './create-api-key.ts'
import { keyDigest } from './key-digest.ts'
import type { KeyStore } from './key-store.ts'
import { hourMs, secretLife, type KeyTerms } from './key-terms.ts'

export interface Rotation {
  /** Of the new secret. Default 90 days, at most what the terms allow. */
  readonly lifetimeDays?: number
  /** How long the replaced secret works beside the new one; never beyond its own end. 0 ends it at once. Default 24. */
  readonly graceHours?: number
  /** Part of the new key's text. Default `live`. */
  readonly environment?: string
  /** Who asked for it, and who approved. */
  readonly approval?: Approved | undefined
}

/** The new secret, shown once, and until when the replaced one works. */
export interface RotatedApiKey extends CreatedApiKey {
  /** Milliseconds since the epoch. */
  readonly graceExpiresAt: number
}

/**
 * Gives a key a second secret: the same key id and principal, and so the same quota. Two secrets work at most: one that an
 * earlier rotation left in its grace ends here.
 * @returns `null` when there is no key of this id, or it is revoked.
 * @throws FMG_ERR_OPTION_INVALID
 */
export async function rotateApiKey (store: KeyStore, pepper: Uint8Array, keyId: string, rotation: Rotation = {}, terms: KeyTerms = {}): Promise<RotatedApiKey | null> {
  const { graceHours = 24, environment = 'live' } = rotation
  if (!(graceHours >= 0 && Number.isFinite(graceHours))) throw optionInvalid('graceHours', 'at least 0', graceHours)
  if (!isEnvironment(environment)) throw optionInvalid('environment', '1 to 16 lower-case letters or digits', environment)
  const approval = readApproval(rotation.approval, 'approval')
  const { issuedAt, expiresAt } = secretLife(rotation.lifetimeDays, terms)
  const key = formatApiKey({ ...drawApiKey(environment), keyId })
  const digest = keyDigest(pepper, key)
  const changed = await store.update(keyId, (record) => {
    if (record.revokedAt !== undefined) return null
    const graceExpiresAt = Math.min(issuedAt + Math.round(graceHours * hourMs), record.expiresAt)
    return { ...record, approval, digest, issuedAt, expiresAt, previous: { digest: record.digest, graceExpiresAt } }
  })
  if (changed?.previous === undefined) return null
  return { keyId, key, expiresAt, graceExpiresAt: changed.previous.graceExpiresAt }
}
