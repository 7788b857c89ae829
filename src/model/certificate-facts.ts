import type { X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  anyExtendedKeyUsage, BasicConstraints, Certificate, ExtendedKeyUsage, KeyUsage, KeyUsageFlags, type Extension,
  id_ce_basicConstraints as basicConstraintsId, id_ce_extKeyUsage as extendedKeyUsageId, id_ce_keyUsage as keyUsageId,
  id_ce_subjectAltName as subjectAltNameId, id_kp_codeSigning as codeSigning
} from '@peculiar/asn1-x509'
import { guardError } from '../errors.ts'

/** What a certificate says of itself (RFC 5280) that node:crypto does not show. */
export interface CertificateFacts {
  /** Milliseconds since the epoch, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** Whether it may issue certificates: the CA flag, and keyCertSign where there is a key usage. */
  readonly isAuthority: boolean
  /** How many intermediate authorities may stand below it. */
  readonly maxIntermediates: number
  /** Key usage digitalSignature or extended key usage codeSigning, and no extended key usage that leaves code signing out. */
  readonly maySignModels: boolean
  /** A critical extension that is not understood here forbids its use (section 4.2). */
  readonly isUnderstood: boolean
}

const understood = new Set<string>([basicConstraintsId, keyUsageId, extendedKeyUsageId, subjectAltNameId])

/**
 * Reads them.
 * @throws FMG_ERR_BUNDLE_INVALID when an extension is malformed.
 */
export function readCertificateFacts (certificate: X509Certificate): CertificateFacts {
  try {
    const { validity, extensions } = AsnConvert.parse(certificate.raw, Certificate).tbsCertificate
    return {
      notBefore: validity.notBefore.getTime().getTime(),
      notAfter: validity.notAfter.getTime().getTime(),
      ...readExtensions(extensions ?? [])
    }
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'a certificate is malformed', reason: 'certificate', cause })
  }
}

function readExtensions (extensions: readonly Extension[]): Omit<CertificateFacts, 'notBefore' | 'notAfter'> {
  const valueOf = (id: string): Extension['extnValue'] | undefined => extensions.find(({ extnID }) => extnID === id)?.extnValue
  const constraints = valueOf(basicConstraintsId)
  const { cA, pathLenConstraint } = constraints === undefined ? { cA: false } : AsnConvert.parse(constraints, BasicConstraints)
  const usage = valueOf(keyUsageId)
  const flags = usage === undefined ? undefined : AsnConvert.parse(usage, KeyUsage).toNumber()
  const extended = valueOf(extendedKeyUsageId)
  const purposes = extended === undefined ? undefined : Array.from(AsnConvert.parse(extended, ExtendedKeyUsage))
  const signsCode = purposes?.some((purpose) => purpose === codeSigning || purpose === anyExtendedKeyUsage)
  return {
    isAuthority: cA && has(flags, KeyUsageFlags.keyCertSign) !== false,
    maxIntermediates: pathLenConstraint ?? Infinity,
    // Section 4.2.1.12: purposes, where named, are the only ones. Without this any web server's certificate could sign models.
    maySignModels: signsCode ?? has(flags, KeyUsageFlags.digitalSignature) ?? false,
    isUnderstood: extensions.every(({ critical, extnID }) => !critical || understood.has(extnID))
  }
}

function has (flags: number | undefined, flag: number): boolean | undefined {
  return flags === undefined ? undefined : (flags & flag) !== 0
}
