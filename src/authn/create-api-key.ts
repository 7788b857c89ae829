import { readApproved, type Approved } from '../approval.ts'
import { optional, optionInvalid } from '../options.ts'
import type { Principal } from '../principal.ts'
import { readScopes } from '../scope.ts'
import { readAddressRanges } from './address-ranges.ts'
import { drawApiKey, formatApiKey, isEnvironment } from './api-key-format.ts'
import { keyDigest } from './key-digest.ts'
import type { KeyStore } from './key-store.ts'
import { secretLife, type KeyTerms } from './key-terms.ts'

export interface NewApiKey {
  /** Who the holder is; `id` is required, all else has a safe default (`service`, no roles). Its scopes limit the key; with none it is not limited. */
  readonly principal: Partial<Omit<Principal, 'credential'>> & { readonly id: string, readonly tier: string }
  readonly label?: string
  /** Part of the key's text. Default `live`. */
  readonly environment?: string
  /** Default 90 days, at most what the terms allow. */
  readonly lifetimeDays?: number
  /** Networks (`10.0.0.0/8`, `2001:db8::/32`) and addresses that the key may come from. Default: everywhere. */
  readonly allowedAddresses?: readonly string[]
  /** Who asked for it, and who approved. */
  readonly approval?: Approved | undefined
}

/** A key as it is shown, once. */
export interface CreatedApiKey {
  readonly keyId: string
  /** Secret: this is the only time it exists outside its holder's hands. */
  readonly key: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Reads who asked for a change of a key, and who approved it, where that is said. */
export const readApproval = optional(readApproved)

/**
 * Makes a key and stores what is needed to recognise it.
 * @throws FMG_ERR_OPTION_INVALID for a lifetime, an environment, a scope, an address range or names that cannot be.
 */
export async function createApiKey (store: KeyStore, pepper: Uint8Array, wanted: NewApiKey, terms: KeyTerms = {}): Promise<CreatedApiKey> {
  const { principal, label = '', environment = 'live' } = wanted
  if (!isEnvironment(environment)) throw optionInvalid('environment', '1 to 16 lower-case letters or digits', environment)
  const approval = readApproval(wanted.approval, 'approval')
  const scopes = readScopes(principal.scopes ?? [], 'principal.scopes')
  const allowedAddresses = readAddressRanges(wanted.allowedAddresses, 'allowedAddresses')
  const { issuedAt, expiresAt } = secretLife(wanted.lifetimeDays, terms)
  const parts = drawApiKey(environment)
  const key = formatApiKey(parts)
  await store.add({
    keyId: parts.keyId,
    version: 1,
    digest: keyDigest(pepper, key),
    principal: { type: 'service', roles: [], attributes: {}, ...principal, scopes },
    allowedAddresses,
    label,
    createdAt: issuedAt,
    issuedAt,
    expiresAt,
    approval
  })
  return { keyId: parts.keyId, key, expiresAt }
}
