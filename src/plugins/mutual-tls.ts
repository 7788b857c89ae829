import type { TlsOptions } from 'node:tls'
import { readAuthorityCertificate, type AuthorityCertificate } from '../authn/authority-certificate.ts'
import { anyThat, listOf, object, oneOf, withDefault } from '../options.ts'

export interface MutualTlsOptions {
  /** The server's own private key, PEM. */
  readonly key: string | Buffer
  /** The server's own certificate and those between it and its root, PEM. */
  readonly certificate: string | Buffer
  /** The authorities whose certificates clients may present: those of `mtls`, and those above them up to the root. */
  readonly clientAuthorities: readonly AuthorityCertificate[]
  /** Default `TLSv1.3`. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
}

const pem = anyThat((value): value is string | Buffer => typeof value === 'string' || Buffer.isBuffer(value), 'PEM, as a string or a Buffer')

const readOptions = object({
  key: pem,
  certificate: pem,
  clientAuthorities: listOf(readAuthorityCertificate),
  minVersion: withDefault(oneOf('TLSv1.2', 'TLSv1.3'), 'TLSv1.3')
})

/**
 * Options for `Fastify({ https })` that ask clients for a certificate. Who has none, or one of somebody else's, may connect, and is then a caller
 * without a credential: the guard answers 401, where TLS alone would drop the connection without a word, or a record.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function mutualTls (options: MutualTlsOptions): TlsOptions {
  const { key, certificate, clientAuthorities, minVersion } = readOptions(options, 'mutualTls')
  return {
    key,
    cert: certificate,
    ca: clientAuthorities.map(({ x509 }) => x509.toString()),
    requestCert: true,
    rejectUnauthorized: false,
    minVersion
  }
}
