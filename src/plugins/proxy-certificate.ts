import type { FastifyRequest } from 'fastify'
import { credentialCache } from '../authn/credential-cache.ts'
import { forwardedCertificate, type ForwardedForm } from '../authn/forwarded-certificate.ts'
import type { ClientCertificate } from '../authn/request-facts.ts'
import { guardError } from '../errors.ts'
import { prepareNetworks } from '../networks.ts'
import { listOf, object, oneOf, optional, optionInvalid, string, type Reader } from '../options.ts'
import { peerCertificate } from './peer-certificate.ts'

export interface ProxyCertificateOptions {
  /** Addresses and networks (CIDR) of the proxies, as the socket shows them: `trustProxy` changes nothing here. */
  readonly from: readonly string[]
  /** How they write the certificate. They must remove what a client sent under that name; Envoy must be set to `SANITIZE_SET` or `APPEND_FORWARD`, with `cert: true`. */
  readonly form: ForwardedForm
  /** The header of the form `nginx`, for which there is no standard. Default `ssl-client-cert`. The other forms have one of their own. */
  readonly header?: string
}

/** Where a request's certificate comes from. It throws FMG_ERR_REQUEST_INVALID for a header that cannot be believed. */
export type CertificateSource = (request: FastifyRequest) => ClientCertificate | null

// One a client that is active at a time; each a few kilobytes.
const maxCached = 10_000
const headers: Readonly<Record<ForwardedForm, string>> = { rfc9440: 'client-cert', xfcc: 'x-forwarded-client-cert', nginx: 'ssl-client-cert' }

const readShape = object({
  from: listOf(string()),
  form: oneOf('rfc9440', 'xfcc', 'nginx'),
  header: optional(string(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'the name of a header'))
})

/** Option `proxyCertificate`. Left out, no header is read, and a certificate can only be the connection's own. */
export const readCertificateSource: Reader<CertificateSource> = (value, path) => {
  if (value === undefined) return peerCertificate
  const { from, form, header } = readShape(value, path)
  const isProxy = prepareNetworks(from)
  if (isProxy === undefined) throw optionInvalid(`${path}.from`, 'a list of at least one address or network', from)
  if (header !== undefined && form !== 'nginx') throw optionInvalid(`${path}.header`, `left out: the form ${form} has its own`, header)
  const forwarded = forwardedReader(form)
  const name = (header ?? headers[form]).toLowerCase()

  return function certificateOf (request) {
    const [found, ...others] = valuesOf(name, request.raw.rawHeaders)
    if (isProxy(request.raw.socket.remoteAddress) !== true) {
      // A stranger who names a certificate poses as a proxy. Ignored, the header would still stand before whoever reads it later.
      if (found !== undefined) throw invalid('certificate-header-from-stranger')
      return peerCertificate(request)
    }
    // RFC 9440 section 2.2: one alone. A proxy that adds its own to the client's would leave the choice to this server.
    if (others.length > 0) throw invalid('certificate-header-twice')
    // Never the connection's own here: that is the proxy's, and everyone who comes through it would be the proxy.
    return found === undefined ? null : forwarded(found)
  }
}

/** The same object for the same header, so that who it is has to be worked out but once. */
function forwardedReader (form: ForwardedForm): (header: string) => ClientCertificate {
  const known = credentialCache<ClientCertificate>(maxCached)
  return function readForwarded (header) {
    const before = known.get(header)
    if (before !== undefined) return before
    const certificate = forwardedCertificate(form, header)
    if (certificate === null) throw invalid('certificate-header-malformed')
    known.set(header, certificate)
    return certificate
  }
}

/** From the lines as received: Node's parsed headers join repeated ones with commas, which `x-forwarded-client-cert` has of its own. */
function valuesOf (name: string, rawHeaders: readonly string[]): string[] {
  return rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
}

function invalid (reason: string): Error {
  return guardError('FMG_ERR_REQUEST_INVALID', { detail: 'the certificate header', reason })
}
