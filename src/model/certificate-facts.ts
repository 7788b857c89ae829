import type { KeyObject, X509Certificate } from 'node:crypto'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  anyExtendedKeyUsage, BasicConstraints, Certificate, ExtendedKeyUsage, KeyUsage, KeyUsageFlags, SubjectAlternativeName, type Extension, type Name,
  id_ce_basicConstraints as basicConstraintsId, id_ce_extKeyUsage as extendedKeyUsageId, id_ce_keyUsage as keyUsageId,
  id_ce_subjectAltName as subjectAltNameId, id_kp_codeSigning as codeSigning
} from '@peculiar/asn1-x509'
import { guardError } from '../errors.ts'

/** What a certificate says of itself (RFC 5280) that node:crypto does not show. */
export interface CertificateFacts {
  /** Milliseconds since the epoch, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** The CA flag. Where there is a key usage, `X509Certificate.checkIssued` demands keyCertSign in it. */
  readonly isAuthority: boolean
  /** Whether what it issues may be for signing models: no extended key usage, or one with code signing. */
  readonly mayIssueSigners: boolean
  /** How many intermediate authorities may stand below it. */
  readonly maxIntermediates: number
  /** Key usage digitalSignature or extended key usage codeSigning, and neither extension there without it. */
  readonly maySignModels: boolean
  /** A critical extension that is not understood here forbids its use (section 4.2). */
  readonly isUnderstood: boolean
  /** Whether its issuer signed it in a way that nobody can forge today: at least SHA-256. */
  readonly isSoundlySigned: boolean
  /** Its subject's attributes by their short names, in their order. */
  readonly subject: readonly SubjectAttribute[]
  /** Its alternative names that are texts, as OpenSSL writes them: `URI:…`, `email:…`, `DNS:…`. */
  readonly names: readonly string[]
}

/** One attribute of a subject. */
export interface SubjectAttribute {
  /** One of those of `attributeIds`. */
  readonly name: string
  readonly value: string
}

/** Attributes of a subject that signers may be told apart by (RFC 4519). */
const attributeIds: Readonly<Record<string, string>> = { CN: '2.5.4.3', O: '2.5.4.10', OU: '2.5.4.11', C: '2.5.4.6', ST: '2.5.4.8', L: '2.5.4.7' }

const understood = new Set<string>([basicConstraintsId, keyUsageId, extendedKeyUsageId, subjectAltNameId])

const soundAlgorithms = new Set([
  // RSA with SHA-256, 384 and 512, and RSA-PSS.
  '1.2.840.113549.1.1.11', '1.2.840.113549.1.1.12', '1.2.840.113549.1.1.13', '1.2.840.113549.1.1.10',
  // ECDSA with SHA-256, 384 and 512, Ed25519, Ed448.
  '1.2.840.10045.4.3.2', '1.2.840.10045.4.3.3', '1.2.840.10045.4.3.4', '1.3.101.112', '1.3.101.113'
])
const minRsaBits = 2048

/**
 * Reads them.
 * @throws FMG_ERR_BUNDLE_INVALID when an extension is malformed.
 */
export function readCertificateFacts (certificate: X509Certificate): CertificateFacts {
  try {
    const { tbsCertificate: { validity, extensions, subject }, signatureAlgorithm } = AsnConvert.parse(certificate.raw, Certificate)
    return {
      notBefore: validity.notBefore.getTime().getTime(),
      notAfter: validity.notAfter.getTime().getTime(),
      isSoundlySigned: soundAlgorithms.has(signatureAlgorithm.algorithm),
      subject: readSubject(subject),
      ...readExtensions(extensions ?? [])
    }
  } catch (cause) {
    throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'a certificate is malformed', reason: 'certificate', cause })
  }
}

/** Whether a key is long enough for what it signs to be believed. */
export function isLongEnough ({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  return !String(asymmetricKeyType).startsWith('rsa') || Number(asymmetricKeyDetails?.modulusLength) >= minRsaBits
}

type ExtensionFacts = Omit<CertificateFacts, 'notBefore' | 'notAfter' | 'isSoundlySigned' | 'subject'>

function readExtensions (extensions: readonly Extension[]): ExtensionFacts {
  const valueOf = (id: string): Extension['extnValue'] | undefined => extensions.find(({ extnID }) => extnID === id)?.extnValue
  const constraints = valueOf(basicConstraintsId)
  const { cA, pathLenConstraint } = constraints === undefined ? { cA: false } : AsnConvert.parse(constraints, BasicConstraints)
  const usage = valueOf(keyUsageId)
  const flags = usage === undefined ? undefined : AsnConvert.parse(usage, KeyUsage).toNumber()
  const extended = valueOf(extendedKeyUsageId)
  const purposes = extended === undefined ? undefined : Array.from(AsnConvert.parse(extended, ExtendedKeyUsage))
  const signsCode = purposes?.some((purpose) => purpose === codeSigning || purpose === anyExtendedKeyUsage)
  const names = valueOf(subjectAltNameId)
  const signs = has(flags, KeyUsageFlags.digitalSignature)
  return {
    isAuthority: cA,
    // Else an authority that was made for web servers could make signers of models.
    mayIssueSigners: signsCode !== false,
    maxIntermediates: pathLenConstraint ?? Infinity,
    // Section 4.2.1.12: what either extension leaves out is forbidden. Without this any web server's certificate could sign models.
    maySignModels: signs !== false && (signsCode ?? signs ?? false),
    isUnderstood: extensions.every(({ critical, extnID }) => !critical || understood.has(extnID)),
    names: names === undefined ? [] : readNames(AsnConvert.parse(names, SubjectAlternativeName))
  }
}

function readSubject (subject: Name): readonly SubjectAttribute[] {
  const known = new Map(Object.entries(attributeIds).map(([name, id]) => [id, name]))
  return [...subject].flatMap((set) => [...set]).flatMap(({ type, value }) => {
    const name = known.get(type)
    return name === undefined ? [] : [{ name, value: value.toString() }]
  })
}

function readNames (names: SubjectAlternativeName): readonly string[] {
  return [...names].flatMap(({ uniformResourceIdentifier: uri, rfc822Name: email, dNSName: dns }) => {
    if (uri !== undefined) return `URI:${uri}`
    if (email !== undefined) return `email:${email}`
    return dns === undefined ? [] : `DNS:${dns}`
  })
}

function has (flags: number | undefined, flag: number): boolean | undefined {
  return flags === undefined ? undefined : (flags & flag) !== 0
}
