import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { issue, namesOf, type CertificateOptions, type Issued } from './certificates.ts'

const hourMs = 3_600_000
// Real handshakes go by the real clock.
const around = { notBefore: new Date(Date.now() - hourMs), notAfter: new Date(Date.now() + 24 * hourMs) }

/** A certificate that is valid now. */
export function issueNow (options: CertificateOptions): Issued {
  return issue({ ...around, ...options })
}

/** What `key` and `cert` of `node:tls` take. */
export function asPem ({ certificate, privateKey }: Issued): { readonly key: string, readonly cert: string } {
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: certificate.toString() }
}

/** A server's certificate for `localhost`, and the authority that clients know it by. */
export const serverAuthority = issueNow({ subject: 'servers', isAuthority: true })
export const server = issueNow({ subject: 'localhost', issuer: serverAuthority, names: namesOf('localhost') })

/** A free port of loopback that this server listens on from now on. */
export async function listen (app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** A connection to a server for `localhost`. */
export async function connectTls (port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: serverAuthority.certificate.toString(), ...options })
  await once(socket, 'secureConnect')
  return socket
}

/** What came back for one request on an open connection. */
export interface Answer {
  readonly status: number
  readonly body: string
}

/** Sends one request on this connection, and waits for its whole answer. */
export async function ask (socket: TLSSocket, path: string, headers: readonly string[] = []): Promise<Answer> {
  socket.write([`${path.startsWith('/models/') ? 'POST' : 'GET'} ${path} HTTP/1.1`, 'host: localhost', ...headers, '', ''].join('\r\n'))
  return await new Promise((resolve, reject) => {
    let text = ''
    const read = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      const [head = '', body] = text.split('\r\n\r\n')
      if (body === undefined || body.length < Number(/^content-length: (\d+)/im.exec(head)?.[1])) return
      socket.off('data', read).off('close', reject)
      resolve({ status: Number(head.split(' ')[1]), body })
    }
    socket.on('data', read).once('close', reject)
  })
}
