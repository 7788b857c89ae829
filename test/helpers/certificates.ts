import { createPublicKey, generateKeyPairSync, randomBytes, sign, X509Certificate, type KeyObject } from 'node:crypto'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier, AttributeTypeAndValue, AttributeValue, BasicConstraints, Certificate, CertificateList, ExtendedKeyUsage, Extension, Extensions, GeneralName,
  id_ce_basicConstraints as basicConstraintsId, id_ce_extKeyUsage as extendedKeyUsageId, id_ce_keyUsage as keyUsageId, id_ce_subjectAltName as subjectAltNameId, KeyUsage, Name,
  RelativeDistinguishedName, RevokedCertificate, SubjectAlternativeName, SubjectPublicKeyInfo, TBSCertificate, TBSCertList, Time, Validity, Version
} from '@peculiar/asn1-x509'

/** What a certificate for a test says. Signed with Ed25519, by its issuer's key or its own. */
export interface CertificateOptions {
  readonly subject: string
  readonly issuer?: Issued
  readonly isAuthority?: boolean
  readonly maxIntermediates?: number
  /** Bits of KeyUsageFlags; none for no such extension. */
  readonly usage?: number
  readonly isUsageCritical?: boolean
  /** Object identifiers; none for no such extension. */
  readonly purposes?: readonly string[]
  /** Alternative names of the subject; none for no such extension. */
  readonly names?: readonly GeneralName[]
  readonly serial?: Buffer
  readonly notBefore?: Date
  readonly notAfter?: Date
  /** Critical extensions that nobody knows. */
  readonly unknownExtension?: string | readonly string[]
  /** The subject's attributes by object identifier, beside its common name. */
  readonly attributes?: readonly (readonly [id: string, value: string])[]
  /** How an issuer with an RSA key signs it. */
  readonly rsaHash?: 'sha1' | 'sha256'
  /** Its own, of any kind where there is an issuer; by default a fresh one. */
  readonly privateKey?: KeyObject
}

export interface Issued {
  readonly certificate: X509Certificate
  readonly privateKey: KeyObject
}

const ed25519 = new AlgorithmIdentifier({ algorithm: '1.3.101.112' })
const rsa = { sha1: new AlgorithmIdentifier({ algorithm: '1.2.840.113549.1.1.5' }), sha256: new AlgorithmIdentifier({ algorithm: '1.2.840.113549.1.1.11' }) }

/** Makes a certificate. */
export function issue (options: CertificateOptions): Issued {
  const privateKey = options.privateKey ?? generateKeyPairSync('ed25519').privateKey
  const subject = nameOf(options.subject, options.attributes)
  const algorithm = options.rsaHash === undefined ? ed25519 : rsa[options.rsaHash]
  const extensions = extensionsOf(options)
  const tbs = new TBSCertificate({
    version: Version.v3,
    serialNumber: new Uint8Array(options.serial ?? [1, ...randomBytes(8)]).buffer,
    signature: algorithm,
    issuer: options.issuer === undefined ? subject : nameOf(options.issuer.certificate.subject.replace('CN=', '')),
    validity: new Validity({ notBefore: options.notBefore ?? new Date('2026-01-01T00:00:00Z'), notAfter: options.notAfter ?? new Date('2030-01-01T00:00:00Z') }),
    subject,
    subjectPublicKeyInfo: AsnConvert.parse(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo),
    ...(extensions.length === 0 ? {} : { extensions: new Extensions(extensions) })
  })
  const signature = sign(options.rsaHash ?? null, Buffer.from(AsnConvert.serialize(tbs)), options.issuer?.privateKey ?? privateKey)
  const whole = new Certificate({ tbsCertificate: tbs, signatureAlgorithm: algorithm, signatureValue: new Uint8Array(signature).buffer })
  return { certificate: new X509Certificate(Buffer.from(AsnConvert.serialize(whole))), privateKey }
}

function nameOf (commonName: string, attributes: readonly (readonly [id: string, value: string])[] = []): Name {
  const all: typeof attributes = [['2.5.4.3', commonName], ...attributes]
  return new Name(all.map(([type, utf8String]) => new RelativeDistinguishedName([new AttributeTypeAndValue({ type, value: new AttributeValue({ utf8String }) })])))
}

function extensionsOf ({ isAuthority = false, maxIntermediates, usage, isUsageCritical = true, purposes, names, unknownExtension }: CertificateOptions): Extension[] {
  const extensions: Extension[] = []
  const add = (extnID: string, value: ArrayBuffer, critical = true): void => { extensions.push(new Extension({ extnID, critical, extnValue: new OctetString(value) })) }
  if (isAuthority) add(basicConstraintsId, AsnConvert.serialize(new BasicConstraints({ cA: true, ...(maxIntermediates === undefined ? {} : { pathLenConstraint: maxIntermediates }) })))
  if (usage !== undefined) add(keyUsageId, AsnConvert.serialize(new KeyUsage(usage)), isUsageCritical)
  if (purposes !== undefined) add(extendedKeyUsageId, AsnConvert.serialize(new ExtendedKeyUsage([...purposes])))
  if (names !== undefined) add(subjectAltNameId, AsnConvert.serialize(new SubjectAlternativeName([...names])), false)
  for (const id of [unknownExtension ?? []].flat()) add(id, AsnConvert.serialize(new OctetString(new ArrayBuffer(1))))
  return extensions
}

/** What a revocation list for a test says. Signed with Ed25519. */
export interface RevocationListOptions {
  readonly serials?: readonly Buffer[]
  /** Default: the authority's. */
  readonly issuerName?: string
  readonly thisUpdate?: Date
  /** `null` for none. */
  readonly nextUpdate?: Date | null
  /** Object identifiers of critical extensions: of the list, and of its first entry. */
  readonly unknownExtension?: string
  readonly unknownEntryExtension?: string
  /** What it says it is signed with; by default Ed25519. */
  readonly algorithm?: string
  readonly innerAlgorithm?: string
}

/** Makes the DER of a revocation list. */
export function revoke ({ certificate, privateKey }: Issued, options: RevocationListOptions = {}): Buffer {
  const { serials = [], nextUpdate = new Date('2030-01-01T00:00:00Z'), unknownExtension, unknownEntryExtension, algorithm = '1.3.101.112' } = options
  const critical = (extnID: string): Extension => new Extension({ extnID, critical: true, extnValue: new OctetString(AsnConvert.serialize(new OctetString(new ArrayBuffer(1)))) })
  const revoked = serials.map((serial) => new RevokedCertificate({
    userCertificate: new Uint8Array(serial).buffer,
    revocationDate: new Time(new Date('2026-01-02T00:00:00Z')),
    ...(unknownEntryExtension === undefined ? {} : { crlEntryExtensions: [critical(unknownEntryExtension)] })
  }))
  const tbs = new TBSCertList({
    version: Version.v2,
    signature: new AlgorithmIdentifier({ algorithm: options.innerAlgorithm ?? algorithm }),
    issuer: nameOf(options.issuerName ?? certificate.subject.replace('CN=', '')),
    thisUpdate: new Time(options.thisUpdate ?? new Date('2026-01-02T00:00:00Z')),
    ...(nextUpdate === null ? {} : { nextUpdate: new Time(nextUpdate) }),
    ...(revoked.length === 0 ? {} : { revokedCertificates: revoked }),
    ...(unknownExtension === undefined ? {} : { crlExtensions: [critical(unknownExtension)] })
  })
  const signature = sign(null, Buffer.from(AsnConvert.serialize(tbs)), privateKey)
  return Buffer.from(AsnConvert.serialize(new CertificateList({ tbsCertList: tbs, signatureAlgorithm: new AlgorithmIdentifier({ algorithm }), signature: new Uint8Array(signature).buffer })))
}

/** Alternative names: those with a colon URIs, the others DNS names. */
export function namesOf (...names: readonly string[]): GeneralName[] {
  return names.map((name) => name.includes(':') ? new GeneralName({ uniformResourceIdentifier: name }) : new GeneralName({ dNSName: name }))
}
