import { hash, X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  BasicConstraints, Certificate, ExtendedKeyUsage, KeyUsage, KeyUsageFlags, SubjectAlternativeName, type Extension,
  id_ce_basicConstraints as basicConstraintsId, id_ce_extKeyUsage as extendedKeyUsageId, id_ce_keyUsage as keyUsageId,
  id_ce_subjectAltName as subjectAltNameId, id_kp_clientAuth as clientAuth
} from '@peculiar/asn1-x509'
import type { ClientCertificate } from './request-facts.ts'

/** What a certificate says (RFC 5280), read from its DER: node:crypto shows names only as text for the eye, in which one can pose as two. */
export interface CertificateFacts {
  readonly x509: X509Certificate
  /** SHA-256 of the DER, 64 lower-case hexadecimal digits. */
  readonly fingerprint: string
  /** Hexadecimal, lower case, without leading zero bytes. */
  readonly serial: string
  /** Milliseconds since the epoch, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** The CA flag, or a key usage of signing certificates or revocation lists: whoever has one names others, and must not be one of them. */
  readonly isAuthority: boolean
  /** Key usage allows signatures and extended key usage allows clients, where the certificate has them. */
  readonly mayAuthenticateClients: boolean
  /** Key usage allows the signature of revocation lists, or there is none. */
  readonly maySignLists: boolean
  /** It has a critical key usage, as X509-SVID section 4.3 demands. */
  readonly hasCriticalKeyUsage: boolean
  readonly uris: readonly string[]
  /** Lower case. */
  readonly dnsNames: readonly string[]
}

/** Wraps a certificate's DER, whoever verified it, with its thumbprint. */
export function clientCertificate (der: Uint8Array): ClientCertificate {
  return Object.freeze({ der, thumbprint: hash('sha256', der, 'base64url') })
}

/** Reads DER; `null` for anything but one whole certificate. */
export function readCertificate (der: Uint8Array): CertificateFacts | null {
  try {
    const x509 = new X509Certificate(der)
    // node:crypto takes PEM as well, and lets bytes follow: the digest must be of what was read.
    if (!x509.raw.equals(der)) return null
    const { serialNumber, validity, extensions } = AsnConvert.parse(der, Certificate).tbsCertificate
    return {
      x509,
      fingerprint: hash('sha256', der, 'hex'),
      serial: serialOf(serialNumber),
      notBefore: validity.notBefore.getTime().getTime(),
      notAfter: validity.notAfter.getTime().getTime(),
      ...readExtensions(extensions ?? [])
    }
  } catch {
    return null
  }
}

/** The one way a serial number is written here, so that a certificate's and a revocation list's compare. */
export function serialOf (integer: ArrayBuffer): string {
  return Buffer.from(integer).toString('hex').replace(/^(?:00)+(?=..)/, '')
}

type ExtensionFacts = Omit<CertificateFacts, 'x509' | 'fingerprint' | 'serial' | 'notBefore' | 'notAfter'>

function readExtensions (extensions: readonly Extension[]): ExtensionFacts {
  const byId = new Map(extensions.map((extension) => [extension.extnID, extension]))
  // RFC 5280 section 4.2: one of a kind. Of two, each reader might take another.
  if (byId.size !== extensions.length) throw new TypeError('an extension stands twice')
  const constraints = byId.get(basicConstraintsId)?.extnValue
  const usage = byId.get(keyUsageId)
  const purposes = byId.get(extendedKeyUsageId)?.extnValue
  const flags = usage === undefined ? undefined : AsnConvert.parse(usage.extnValue, KeyUsage).toNumber()
  const names = byId.get(subjectAltNameId)?.extnValue
  const general = names === undefined ? [] : Array.from(AsnConvert.parse(names, SubjectAlternativeName))
  const isForClients = purposes === undefined || AsnConvert.parse(purposes, ExtendedKeyUsage).includes(clientAuth)
  return {
    isAuthority: (constraints !== undefined && AsnConvert.parse(constraints, BasicConstraints).cA) || has(flags ?? 0, KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign),
    mayAuthenticateClients: isForClients && has(flags ?? KeyUsageFlags.digitalSignature, KeyUsageFlags.digitalSignature),
    maySignLists: has(flags ?? KeyUsageFlags.cRLSign, KeyUsageFlags.cRLSign),
    hasCriticalKeyUsage: usage?.critical === true,
    uris: general.flatMap(({ uniformResourceIdentifier }) => uniformResourceIdentifier ?? []),
    dnsNames: general.flatMap(({ dNSName }) => dNSName?.toLowerCase() ?? [])
  }
}

function has (flags: number, wanted: number): boolean {
  return (flags & wanted) !== 0
}
