import type { X509Certificate } from 'node:crypto'
import { guardError, type GuardError } from '../errors.ts'
import { keyHint } from './bundle.ts'

/** Signers that are refused whoever else trusts them. */
export interface RevokedSigners {
  /** Hints of keys: signers' own, and those of certificates anywhere between a signer and an authority. */
  readonly keys?: readonly string[]
  /** SHA-256 fingerprints of certificates, in hexadecimal, colons allowed, anywhere between a signer and an authority. */
  readonly certificates?: readonly string[]
  /** Serial numbers of certificates in hexadecimal, each with the fingerprint of the authority that issued it. */
  readonly serials?: readonly { readonly authority: string, readonly serial: string }[]
  readonly identities?: readonly { readonly identity: string, readonly issuer: string }[]
}

/** @throws FMG_ERR_SIGNER_UNTRUSTED when this key is revoked. */
export function refuseRevokedKey (hint: string, { keys = [] }: RevokedSigners): void {
  if (keys.some((revoked) => revoked.toLowerCase() === hint)) throw revokedSigner('its key is revoked')
}

/**
 * @param path a signer's certificate, and those that lead to the authority.
 * @throws FMG_ERR_SIGNER_UNTRUSTED when one of them is revoked, or its key.
 */
export function refuseRevokedCertificates (path: readonly X509Certificate[], revoked: RevokedSigners): void {
  const { certificates = [], serials = [] } = revoked
  for (const [index, certificate] of path.entries()) {
    refuseRevokedKey(keyHint(certificate.publicKey), revoked)
    const issuer = path[index + 1]
    const isSerial = ({ authority, serial }: { readonly authority: string, readonly serial: string }): boolean =>
      issuer !== undefined && digits(authority) === digits(issuer.fingerprint256) && number(serial) === number(certificate.serialNumber)
    if (certificates.some((fingerprint) => digits(fingerprint) === digits(certificate.fingerprint256)) || serials.some(isSerial)) {
      throw revokedSigner('its certificate, or one between it and its authority, is revoked')
    }
  }
}

/** @throws FMG_ERR_SIGNER_UNTRUSTED when this identity is revoked. */
export function refuseRevokedIdentity (identity: string, issuer: string, { identities = [] }: RevokedSigners): void {
  if (identities.some((revoked) => revoked.identity === identity && revoked.issuer === issuer)) throw revokedSigner('its identity is revoked')
}

function digits (hexadecimal: string): string {
  return hexadecimal.replaceAll(':', '').toLowerCase()
}

/** Tools write serial numbers with leading zeros, or without. */
function number (hexadecimal: string): string {
  return digits(hexadecimal).replace(/^0+(?=.)/, '')
}

function revokedSigner (detail: string): GuardError {
  return guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail, reason: 'signer-revoked' })
}
