import { createHash, createPublicKey, generateKeyPairSync, sign, X509Certificate, type KeyObject } from 'node:crypto'
import { AsnConvert, AsnUtf8StringConverter, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier, AttributeTypeAndValue, AttributeValue, BasicConstraints, Certificate, ExtendedKeyUsage, Extension, Extensions, GeneralName,
  id_ce_basicConstraints as basicConstraintsId, id_ce_extKeyUsage as extendedKeyUsageId, id_ce_subjectAltName as subjectAltNameId,
  Name, RelativeDistinguishedName, SubjectAlternativeName, SubjectPublicKeyInfo, TBSCertificate, Validity, Version
} from '@peculiar/asn1-x509'
import { encodeForSigning } from '../../src/model/bundle.ts'

// A whole keyless infrastructure in memory: an authority, a certificate log and a signature log, as small as the verifier lets it be.

interface Party {
  readonly privateKey: KeyObject
  readonly der: Buffer
  readonly id: Buffer
}

/** What a keyless signature is to look like. */
export interface KeylessOptions {
  readonly identity?: string
  /** Alternative names in place of the identity alone. */
  readonly names?: readonly GeneralName[]
  readonly issuer?: string
  /** When the log took it, in seconds since the epoch; the certificate is valid for ten minutes from 1,780,000,000 on. */
  readonly integratedTime?: number
  /** Signs another payload than the one that is logged. */
  readonly payloadInLog?: Uint8Array
  /** Leaves the certificate log out. */
  readonly withoutCertificateLog?: boolean
}

const begin = 1_780_000_000
const ecdsa = new AlgorithmIdentifier({ algorithm: '1.2.840.10045.4.3.2' })
const signedCertificateTimestampsId = '1.3.6.1.4.1.11129.2.4.2'
const issuerId = '1.3.6.1.4.1.57264.1.8'

function party (): Party {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const der = publicKey.export({ type: 'spki', format: 'der' })
  return { privateKey, der, id: sha256(der) }
}

function sha256 (...bytes: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const piece of bytes) hash.update(piece)
  return hash.digest()
}

/** Makes the infrastructure: what its trusted root is, and keyless bundles around payloads. */
export function sigstore () {
  const [authority, certificateLog, signatureLog] = [party(), party(), party()]
  const root = certify({ subject: 'authority', issuer: 'authority', key: authority.privateKey, signedWith: authority.privateKey, seconds: 1e8, extensions: [extension(basicConstraintsId, AsnConvert.serialize(new BasicConstraints({ cA: true })))] })
  const validFor = { start: '2026-01-01T00:00:00Z' }
  const log = (baseUrl: string, { der, id }: Party): object => ({
    baseUrl,
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: der.toString('base64'), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor },
    logId: { keyId: id.toString('base64') }
  })
  const trustedRoot = Buffer.from(JSON.stringify({
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [log('https://rekor.test', signatureLog)],
    certificateAuthorities: [{ subject: { organization: 'test', commonName: 'authority' }, uri: 'https://fulcio.test', certChain: { certificates: [{ rawBytes: Buffer.from(AsnConvert.serialize(root)).toString('base64') }] }, validFor }],
    ctlogs: [log('https://ct.test', certificateLog)],
    timestampAuthorities: []
  }))

  function signKeyless (payload: Uint8Array, options: KeylessOptions = {}): Buffer {
    const { identity = 'ann@acme.example', issuer = 'https://login.acme.example', integratedTime = begin + 60, payloadInLog = payload } = options
    const { privateKey } = party()
    const names = options.names ?? [identity.includes('://') ? new GeneralName({ uniformResourceIdentifier: identity }) : new GeneralName({ rfc822Name: identity })]
    const unlogged = {
      subject: '',
      issuer: 'authority',
      key: privateKey,
      signedWith: authority.privateKey,
      seconds: 600,
      extensions: [
        extension(extendedKeyUsageId, AsnConvert.serialize(new ExtendedKeyUsage(['1.3.6.1.5.5.7.3.3']))),
        extension(subjectAltNameId, AsnConvert.serialize(new SubjectAlternativeName([...names])), true),
        extension(issuerId, AsnUtf8StringConverter.toASN(issuer).toBER())
      ]
    }
    const stamp = extension(signedCertificateTimestampsId, AsnConvert.serialize(new OctetString(timestamps(certify(unlogged), authority, certificateLog))))
    const certificate = certify(options.withoutCertificateLog === true ? unlogged : { ...unlogged, extensions: [...unlogged.extensions, stamp] })
    const signature = sign('sha256', encodeForSigning(payload), privateKey).toString('base64')
    return Buffer.from(JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
      verificationMaterial: {
        certificate: { rawBytes: Buffer.from(AsnConvert.serialize(certificate)).toString('base64') },
        tlogEntries: [entry(signature, payloadInLog, integratedTime, signatureLog)]
      },
      dsseEnvelope: { payload: Buffer.from(payload).toString('base64'), payloadType: 'application/vnd.in-toto+json', signatures: [{ sig: signature }] }
    }))
  }

  return { trustedRoot, signKeyless, authority: new X509Certificate(Buffer.from(AsnConvert.serialize(root))) }
}

interface CertificateParts {
  readonly subject: string
  readonly issuer: string
  readonly key: KeyObject
  readonly signedWith: KeyObject
  readonly seconds: number
  readonly extensions: readonly Extension[]
}

function certify ({ subject, issuer, key, signedWith, seconds, extensions }: CertificateParts): Certificate {
  const tbs = new TBSCertificate({
    version: Version.v3,
    serialNumber: new Uint8Array([1, 2, 3]).buffer,
    signature: ecdsa,
    issuer: nameOf(issuer),
    validity: new Validity({ notBefore: new Date(begin * 1000), notAfter: new Date((begin + seconds) * 1000) }),
    subject: nameOf(subject),
    subjectPublicKeyInfo: AsnConvert.parse(createPublicKey(key).export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo),
    extensions: new Extensions([...extensions])
  })
  const signature = sign('sha256', Buffer.from(AsnConvert.serialize(tbs)), signedWith)
  return new Certificate({ tbsCertificate: tbs, signatureAlgorithm: ecdsa, signatureValue: new Uint8Array(signature).buffer })
}

function nameOf (commonName: string): Name {
  return new Name(commonName === '' ? [] : [new RelativeDistinguishedName([new AttributeTypeAndValue({ type: '2.5.4.3', value: new AttributeValue({ utf8String: commonName }) })])])
}

function extension (extnID: string, value: ArrayBuffer, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(value) })
}

/** RFC 6962 section 3: one timestamp of a certificate before it has any. */
function timestamps (certificate: Certificate, authority: Party, log: Party): ArrayBuffer {
  const tbs = Buffer.from(AsnConvert.serialize(certificate.tbsCertificate))
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(begin * 1000))
  const length = (bytes: number, size: number): Buffer => {
    const field = Buffer.alloc(size)
    field.writeUIntBE(bytes, 0, size)
    return field
  }
  const none = length(0, 2)
  const signature = sign('sha256', Buffer.concat([Buffer.from([0, 0]), time, length(1, 2), sha256(authority.der), length(tbs.length, 3), tbs, none]), log.privateKey)
  const stamp = Buffer.concat([Buffer.from([0]), log.id, time, none, Buffer.from([4, 3]), length(signature.length, 2), signature])
  const list = Buffer.concat([length(stamp.length, 2), stamp])
  return new Uint8Array(Buffer.concat([length(list.length, 2), list])).buffer
}

/** An entry of a log whose only leaf it is. */
function entry (signature: string, payload: Uint8Array, integratedTime: number, log: Party): object {
  const body = Buffer.from(JSON.stringify({
    apiVersion: '0.0.1', kind: 'dsse', spec: { payloadHash: { algorithm: 'sha256', value: sha256(payload).toString('hex') }, signatures: [{ signature, verifier: '' }] }
  }))
  const promise = Buffer.from(JSON.stringify({ body: body.toString('base64'), integratedTime, logID: log.id.toString('hex'), logIndex: 0 }))
  const rootHash = sha256(Buffer.from([0]), body).toString('base64')
  const note = `rekor.test\n1\n${rootHash}\n`
  const line = Buffer.concat([log.id.subarray(0, 4), sign('sha256', Buffer.from(note), log.privateKey)]).toString('base64')
  return {
    logIndex: '0',
    logId: { keyId: log.id.toString('base64') },
    kindVersion: { kind: 'dsse', version: '0.0.1' },
    integratedTime: String(integratedTime),
    inclusionPromise: { signedEntryTimestamp: sign('sha256', promise, log.privateKey).toString('base64') },
    inclusionProof: { logIndex: '0', rootHash, treeSize: '1', hashes: [], checkpoint: { envelope: `${note}\n— rekor.test ${line}\n` } },
    canonicalizedBody: body.toString('base64')
  }
}
