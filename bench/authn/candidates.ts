import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { path as inferPath } from '../http/inference.ts'
import { apiKeys, bodies, lines, tokens } from '../measure/callers.ts'
import { startServer, type ChildServer } from '../measure/child-server.ts'
import type { Load } from '../measure/wrk.ts'

const connections = 50

/** A server that runs, and what it is asked. */
export interface Candidate {
  readonly name: string
  readonly server: ChildServer
  readonly load: Load
}

export interface Candidates {
  readonly bare: Candidate
  readonly others: ReadonlyMap<CandidateName, Candidate>
  stop (): Promise<void>
}

const servers = {
  apiKey: { name: 'API key', program: 'authn/guarded', args: ['api-key'], credentials: 'api-keys.txt' },
  jwtCached: { name: 'JWT, RS256, known', program: 'authn/guarded', args: ['RS256'], credentials: 'RS256.txt' },
  jwtRs256: { name: 'JWT, RS256', program: 'authn/guarded', args: ['RS256', '1'], credentials: 'RS256.txt' },
  jwtEs256: { name: 'JWT, ES256', program: 'authn/guarded', args: ['ES256', '1'], credentials: 'ES256.txt' },
  bearerAuth: { name: '@fastify/bearer-auth, 1000 keys', program: 'authn/bearer-auth', args: [], credentials: 'api-keys.txt' },
  fastifyJwt: { name: '@fastify/jwt, RS256', program: 'authn/fastify-jwt', args: ['RS256'], credentials: 'RS256.txt' },
  fastifyJwtCached: { name: '@fastify/jwt, RS256, its cache', program: 'authn/fastify-jwt', args: ['RS256', '1000'], credentials: 'RS256.txt' },
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

  const started: ChildServer[] = []
  const stop = async (): Promise<void> => { await Promise.all(started.map((server) => server.stop())) }
  async function start (name: string, program: string, args: readonly string[], credentials: string): Promise<Candidate> {
    const server = await startServer({ program: `${program}.js`, args: [folder, ...args] })
    started.push(server)
    return { name, server, load: { connections, path: inferPath, credentialsFile: file(credentials), bodiesFile: file('bodies.txt'), folder } }
  }

  try {
    const bare = await start('bare Fastify', 'http/bare', [], 'api-keys.txt')
    const others = new Map<CandidateName, Candidate>()
    for (const [key, { name, program, args, credentials }] of Object.entries(servers) as [CandidateName, typeof servers[CandidateName]][]) {
      const candidate = await start(name, program, args, credentials)
      const { status } = await fetch(candidate.server.url + inferPath, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })
      if (status !== 401) throw new Error(`${name}: a stranger is answered with ${status} instead of 401`)
      others.set(key, candidate)
    }
    return { bare, others, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
