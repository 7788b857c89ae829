import { parseItem } from 'structured-headers'
import { clientCertificate, readCertificate } from './client-certificate.ts'
import { readPem } from './pem.ts'
import type { ClientCertificate } from './request-facts.ts'
import { lastXfccElement } from './xfcc.ts'

/** How a proxy writes a client's certificate into a header: RFC 9440 `Client-Cert`, Envoy's `x-forwarded-client-cert`, nginx's `$ssl_client_escaped_cert`. */
export type ForwardedForm = 'rfc9440' | 'xfcc' | 'nginx'

const readers: Readonly<Record<ForwardedForm, (header: string) => Buffer | null>> = { rfc9440: readClientCert, xfcc: readXfcc, nginx: readEscapedPem }

/** Reads a certificate that a proxy forwarded; `null` for whatever is not exactly one in this form. Whether the proxy may be believed is asked elsewhere. */
export function forwardedCertificate (form: ForwardedForm, header: string): ClientCertificate | null {
  const der = readers[form](header)
  return der === null || readCertificate(der) === null ? null : clientCertificate(der)
}

/** RFC 9440 section 2.2: an Item of Structured Fields that is a Byte Sequence. */
function readClientCert (header: string): Buffer | null {
  try {
    const value: unknown = parseItem(header)[0]
    return value instanceof ArrayBuffer ? Buffer.from(value) : null
  } catch {
    return null
  }
}

/** The names that Envoy lists beside the certificate are not read: `Cert` has them, and the serial number that revocation needs. */
function readXfcc (header: string): Buffer | null {
  const element = lastXfccElement(header)
  const [certificate, ...others] = element?.get('cert') ?? []
  const der = certificate === undefined || others.length > 0 ? null : readEscapedPem(certificate)
  if (der === null) return null
  const hashes = element?.get('hash') ?? []
  // Two descriptions of one client that differ are two clients.
  return hashes.every((hash) => hash.toLowerCase() === readCertificate(der)?.fingerprint) ? der : null
}

function readEscapedPem (text: string): Buffer | null {
  try {
    return readPem(decodeURIComponent(text), 'CERTIFICATE')
  } catch {
    return null
  }
}
