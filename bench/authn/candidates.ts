import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import path from 'node:path'
import { KeyUsageFlags } from '@peculiar/asn1-x509'
import { path as inferPath } from '../http/inference.ts'
import { apiKeys, bodies, lines, tokens } from '../measure/callers.ts'
import { startServer, type ChildServer } from '../measure/child-server.ts'
import { issueNow, asPem, server as serverCertificate } from '../../test/helpers/tls.ts'
import { namesOf } from '../../test/helpers/certificates.ts'
import { abLoad } from '../measure/ab.ts'
import type { Load } from '../measure/sample.ts'
import { wrkLoad } from '../measure/wrk.ts'

const connections = 50

/** A server that runs, and what it is asked. */
export interface Candidate {
  readonly name: string
  readonly server: ChildServer
  readonly load: Load
}

export interface Candidates {
  readonly bare: Candidate
  /** With TLS, and the same client certificates asked for. */
  readonly bareTls: Candidate
  readonly others: ReadonlyMap<CandidateName, Candidate>
  stop (): Promise<void>
}

const servers = {
  floor: { name: 'one hook, one SHA-256 of a key', program: 'authn/floor', args: ['api-keys.txt'], credentials: 'api-keys.txt' },
  tokenFloor: { name: 'one hook, one SHA-256 of a token', program: 'authn/floor', args: ['RS256.txt'], credentials: 'RS256.txt' },
  apiKey: { name: 'API key', program: 'authn/guarded', args: ['api-key'], credentials: 'api-keys.txt' },
  jwtCached: { name: 'JWT, RS256, known', program: 'authn/guarded', args: ['RS256'], credentials: 'RS256.txt' },
  jwtRs256: { name: 'JWT, RS256', program: 'authn/guarded', args: ['RS256', '1'], credentials: 'RS256.txt' },
  jwtEs256: { name: 'JWT, ES256', program: 'authn/guarded', args: ['ES256', '1'], credentials: 'ES256.txt' },
  bearerAuth: { name: '@fastify/bearer-auth, 1000 keys', program: 'authn/bearer-auth', args: [], credentials: 'api-keys.txt' },
  fastifyJwt: { name: '@fastify/jwt, RS256', program: 'authn/fastify-jwt', args: ['RS256'], credentials: 'RS256.txt' },
  fastifyJwtCached: { name: '@fastify/jwt, RS256, its cache', program: 'authn/fastify-jwt', args: ['RS256', '1000'], credentials: 'RS256.txt' },
  mtls: { name: 'client certificate', program: 'authn/client-certificates', args: ['guarded'], credentials: 'client.pem' },
  fastifyJwtEs256: { name: '@fastify/jwt, ES256', program: 'authn/fastify-jwt', args: ['ES256'], credentials: 'ES256.txt' }
} as const

export type CandidateName = keyof typeof servers

/** Starts every server, and checks that each refuses a stranger. */
export async function startCandidates (folder: string): Promise<Candidates> {
  const file = (name: string): string => path.join(folder, name)
  const bearer = (credential: string): string => `Bearer ${credential}`
  await writeFile(file('bodies.txt'), lines(bodies()))
  await writeFile(file('api-keys.txt'), lines((await apiKeys(folder)).map(bearer)))
  for (const algorithm of ['RS256', 'ES256'] as const) {
    await writeFile(file(`${algorithm}.txt`), lines((await tokens(algorithm, file(`${algorithm}.pub`))).map(bearer)))
  }

  await writeCertificates(folder)
  await writeFile(file('body.json'), bodies()[0] ?? '')

  const started: ChildServer[] = []
  const stop = async (): Promise<void> => { await Promise.all(started.map((server) => server.stop())) }
  async function start (name: string, program: string, args: readonly string[], credentials: string): Promise<Candidate> {
    const server = await startServer({ program: `${program}.js`, args: [folder, ...args] })
    started.push(server)
    return { name, server, load: loadOf(folder, file(credentials)) }
  }

  try {
    const bare = await start('bare Fastify', 'http/bare', [], 'api-keys.txt')
    const bareTls = await start('bare Fastify, TLS', 'authn/client-certificates', ['bare'], 'client.pem')
    const others = new Map<CandidateName, Candidate>()
    for (const [key, { name, program, args, credentials }] of Object.entries(servers) as [CandidateName, typeof servers[CandidateName]][]) {
      const candidate = await start(name, program, args, credentials)
      const status = await statusOfStranger(candidate.server.url)
      if (status !== 401) throw new Error(`${name}: a stranger is answered with ${status} instead of 401`)
      others.set(key, candidate)
    }
    return { bare, bareTls, others, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function loadOf (folder: string, credentialsFile: string): Load {
  if (path.extname(credentialsFile) === '.pem') return abLoad({ connections, path: inferPath, certificateFile: credentialsFile, bodyFile: path.join(folder, 'body.json'), folder })
  return wrkLoad({ connections, path: inferPath, credentialsFile, bodiesFile: path.join(folder, 'bodies.txt'), folder })
}

/** The server's certificate, the clients' authority, and a client with its key. */
async function writeCertificates (folder: string): Promise<void> {
  const authority = issueNow({ subject: 'clients', isAuthority: true })
  const client = asPem(issueNow({ subject: 'client', issuer: authority, usage: KeyUsageFlags.digitalSignature, names: namesOf('client.example') }))
  const own = asPem(serverCertificate)
  await writeFile(path.join(folder, 'server.pem'), own.cert)
  await writeFile(path.join(folder, 'server.key'), own.key, { mode: 0o600 })
  await writeFile(path.join(folder, 'clients.pem'), authority.certificate.toString())
  await writeFile(path.join(folder, 'client.pem'), client.cert + client.key, { mode: 0o600 })
}

async function statusOfStranger (url: string): Promise<number | undefined> {
  const { request } = url.startsWith('https:') ? await import('node:https') : await import('node:http')
  const asked = request(url + inferPath, { method: 'POST', rejectUnauthorized: false, headers: { 'content-type': 'application/json' } }).end('{}')
  const [answer] = await once(asked, 'response') as [IncomingMessage]
  answer.resume()
  return answer.statusCode
}
