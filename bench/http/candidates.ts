import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { startServer, type ChildServer } from '../measure/child-server.ts'
import type { Load } from '../measure/sample.ts'
import { wrkLoad } from '../measure/wrk.ts'
import type { Fixture } from './fixture.ts'
import { path as inferPath } from './inference.ts'

const connections = 50

/** Where Redis is found, and its process. */
export interface RunningRedis {
  readonly url: string
  readonly pid: number
}

/** A server that runs, and what it is asked. */
export interface Candidate {
  readonly name: string
  readonly server: ChildServer
  readonly load: Load
}

/** A way to run the guarded server; its ratios end in `suffix`. */
export interface Variant extends Candidate {
  readonly suffix: string
}

export interface Candidates {
  readonly bare: Candidate
  readonly handAssembled: Candidate
  readonly variants: readonly Variant[]
  stop (): Promise<void>
}

const guardedVariants = [
  { suffix: '', name: 'guarded', durability: 'before-response', limits: 'redis' },
  { suffix: '_async', name: 'guarded, log not awaited', durability: 'async', limits: 'redis' },
  { suffix: '_memory', name: 'guarded, limits in memory', durability: 'before-response', limits: 'memory' }
] as const

/** Starts every server. */
export async function startCandidates (fixture: Fixture, redis: RunningRedis): Promise<Candidates> {
  const { folder, bodiesFile, apiKeysFile, tokensFile } = fixture
  const servers: ChildServer[] = []
  const stop = async (): Promise<void> => { await Promise.all(servers.map((server) => server.stop())) }

  async function start (name: string, program: string, args: readonly string[], credentialsFile: string): Promise<Candidate> {
    const server = await startServer({ program: `http/${program}.js`, args })
    servers.push(server)
    return { name, server, load: wrkLoad({ connections, path: inferPath, credentialsFile, bodiesFile, folder }, redis.pid) }
  }

  async function startVariant ({ suffix, name, durability, limits }: typeof guardedVariants[number]): Promise<Variant> {
    const own = path.join(folder, `guarded${suffix}`)
    await mkdir(own, { mode: 0o700 })
    const candidate = await start(name, 'guarded', [folder, own, durability, limits === 'redis' ? redis.url : limits], apiKeysFile)
    await checkRefusal(candidate)
    return { ...candidate, suffix }
  }

  try {
    // Bare Fastify is sent the same header, and does not look at it.
    const bare = await start('bare Fastify', 'bare', [], apiKeysFile)
    const handAssembled = await start('assembled by hand', 'hand-assembled', [folder, redis.url], tokensFile)
    await checkRefusal(handAssembled)
    const variants: Variant[] = []
    for (const variant of guardedVariants) variants.push(await startVariant(variant))
    return { bare, handAssembled, variants, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** A server that lets a stranger in would be fast for nothing. */
async function checkRefusal ({ name, server: { url } }: Candidate): Promise<void> {
  const { status } = await fetch(url + inferPath, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })
  if (status !== 401) throw new Error(`${name}: a stranger is answered with ${status} instead of 401`)
}
