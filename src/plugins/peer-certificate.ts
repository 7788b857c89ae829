import { Http2ServerRequest } from 'node:http2'
import { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import { clientCertificate } from '../authn/client-certificate.ts'
import type { ClientCertificate } from '../authn/request-facts.ts'

// Reading a certificate off a socket costs a hundred times as much as finding it here.
const certificates = new WeakMap<object, ClientCertificate | null>()

/**
 * The certificate of the connection that a request came by, if the TLS layer verified it against the server's `ca`, on a resumed session too;
 * otherwise `null`. Always the same object for one connection.
 */
export function peerCertificate (request: FastifyRequest): ClientCertificate | null {
  const connection = connectionOf(request.raw)
  if (connection === undefined) return null
  const known = certificates.get(connection)
  if (known !== undefined) return known
  const certificate = readPeer(connection)
  certificates.set(connection, certificate)
  return certificate
}

/** In HTTP/2 `request.socket` is another object for every stream; the session's stays the same. */
function connectionOf (raw: unknown): TLSSocket | undefined {
  const socket: unknown = raw instanceof Http2ServerRequest ? raw.stream.session?.socket : Reflect.get(Object(raw), 'socket')
  return socket instanceof TLSSocket ? socket : undefined
}

function readPeer (socket: TLSSocket): ClientCertificate | null {
  // With `rejectUnauthorized: false` a stranger's own certificate comes as far as here.
  const x509 = socket.authorized ? socket.getPeerX509Certificate() : undefined
  return x509 === undefined ? null : clientCertificate(x509.raw)
}
