import { X509Certificate } from 'node:crypto'
import { optionInvalid } from '../options.ts'
import { readCertificate, type CertificateFacts } from './client-certificate.ts'

/** How an authority's certificate may be given: PEM, DER or read already. */
export type AuthorityCertificate = string | Uint8Array | X509Certificate

/** Reads it as an option; one that may not issue certificates is refused. */
export function readAuthorityCertificate (value: unknown, path: string): CertificateFacts {
  const facts = readCertificate(derOf(value, path))
  if (facts?.x509.ca !== true) throw optionInvalid(path, 'the certificate of an authority', value)
  return facts
}

function derOf (value: unknown, path: string): Buffer {
  if (value instanceof X509Certificate) return value.raw
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) throw optionInvalid(path, 'a certificate in PEM or DER', value)
  try {
    return new X509Certificate(value).raw
  } catch {
    throw optionInvalid(path, 'a certificate in PEM or DER', value)
  }
}
