import { verify, type KeyObject } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import { Certificate, CertificateList, type Extension } from '@peculiar/asn1-x509'
import { guardError } from '../errors.ts'
import { serialOf, type CertificateFacts } from './client-certificate.ts'
import { readPem } from './pem.ts'

/** Which certificates an authority has taken back (RFC 5280 section 5). */
export interface RevocationList {
  /** SHA-256 fingerprint of the authority's certificate, hexadecimal. */
  readonly authority: string
  /** Milliseconds since the epoch. */
  readonly thisUpdate: number
  /** From this moment on it says nothing any more. Milliseconds since the epoch. */
  readonly nextUpdate: number
  /** @param serial hexadecimal, lower case, without leading zero bytes. */
  isRevoked (serial: string): boolean
}

// RFC 5280 sections 5.2.1 and 5.2.3: what says nothing about which certificates a list is for.
const understood = new Set(['2.5.29.35', '2.5.29.20'])
// RFC 8017, RFC 5758, RFC 8410: each with the digest that node:crypto is to take.
const algorithms = new Map<string, string | null>([
  ['1.2.840.113549.1.1.11', 'sha256'], ['1.2.840.113549.1.1.12', 'sha384'], ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.3.2', 'sha256'], ['1.2.840.10045.4.3.3', 'sha384'], ['1.2.840.10045.4.3.4', 'sha512'],
  ['1.3.101.112', null], ['1.3.101.113', null]
])

/**
 * Reads a complete list (PEM or DER) of this authority, and verifies its signature. How old it is, is not judged.
 * @throws FMG_ERR_FILE naming what is wrong with it.
 */
export function parseRevocationList (bytes: Uint8Array, authority: CertificateFacts): RevocationList {
  const list = decode(bytes)
  const { tbsCertList: { issuer, thisUpdate, nextUpdate, revokedCertificates = [], crlExtensions = [] } } = list
  const { subject } = AsnConvert.parse(authority.x509.raw, Certificate).tbsCertificate
  if (!sameBytes(AsnConvert.serialize(issuer), AsnConvert.serialize(subject))) throw unusable('is of another authority')
  if (!authority.maySignLists) throw unusable('is of an authority that may not sign lists')
  if (!isSigned(list, authority.x509.publicKey)) throw unusable('is not signed by its authority')
  // Section 5.2: a list with a critical extension that is not understood must not be taken for a complete one; so of its entries (5.3).
  if (![crlExtensions, ...revokedCertificates.map(({ crlEntryExtensions = [] }) => crlEntryExtensions)].every(isUnderstood)) throw unusable('is a partial or indirect one')
  // Section 5.1.2.5 demands it: without it an old list would be good for ever.
  if (nextUpdate === undefined) throw unusable('does not say when the next one comes')
  const serials = new Set(revokedCertificates.map(({ userCertificate }) => serialOf(userCertificate)))
  return Object.freeze({
    authority: authority.fingerprint,
    thisUpdate: thisUpdate.getTime().getTime(),
    nextUpdate: nextUpdate.getTime().getTime(),
    isRevoked: (serial: string) => serials.has(serial)
  })
}

function decode (bytes: Uint8Array): CertificateList {
  try {
    return AsnConvert.parse(readPem(Buffer.from(bytes).toString('latin1'), 'X509 CRL') ?? bytes, CertificateList)
  } catch {
    throw unusable('is malformed')
  }
}

function isSigned ({ tbsCertListRaw, tbsCertList, signatureAlgorithm, signature }: CertificateList, publicKey: KeyObject): boolean {
  const digest = algorithms.get(signatureAlgorithm.algorithm)
  // Section 5.1.1.2: the algorithm stands outside and inside of what is signed, and is the same.
  if (tbsCertListRaw === undefined || digest === undefined || signatureAlgorithm.algorithm !== tbsCertList.signature.algorithm) return false
  try {
    return verify(digest, Buffer.from(tbsCertListRaw), publicKey, Buffer.from(signature))
  } catch {
    // An algorithm for keys of another kind.
    return false
  }
}

function isUnderstood (extensions: readonly Extension[]): boolean {
  return extensions.every(({ critical, extnID }) => !critical || understood.has(extnID))
}

function sameBytes (one: ArrayBuffer, other: ArrayBuffer): boolean {
  return Buffer.from(one).equals(Buffer.from(other))
}

function unusable (what: string): Error {
  return guardError('FMG_ERR_FILE', { detail: `the revocation list ${what}` })
}
