import { randomInt } from 'node:crypto'
import { createSecureContext, type ConnectionOptions } from 'node:tls'
import type { ClusterOptions, RedisOptions } from 'ioredis'
import type { RedisClient } from '../books/redis-client.ts'
import { guardError } from '../errors.ts'
import { readNamedFile, readPrivateFile } from '../files.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { RedisPlace, RedisTls } from './redis-place.ts'

/** What becomes of a command that cannot be sent now: it waits for one more try to connect, or fails at once, as it does when its connection is lost. */
export type WhenLost = 'wait' | 'fail'

/** A client of Redis: what a key store needs, and a word to begin with. */
export interface ConnectedRedis extends RedisClient {
  /** Connects now; rejects when that fails. */
  connect (): Promise<void>
  /** Ends it; what was not answered rejects. */
  disconnect (): void
}

type Common = Pick<RedisOptions, 'username' | 'password' | 'tls' | 'reconnectOnError' | 'maxRetriesPerRequest' | 'autoResendUnfulfilledCommands' | 'socketTimeout' | 'connectTimeout'>

// Whoever does not answer for this long is not there.
const silenceMs = 5000

/**
 * A client of the Redis at this place, which connects when it is first used or told to.
 * @param onError told why a connection was lost or not made.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 * @throws FMG_ERR_FILE when a file cannot be read, when others may read a key, or when certificate and key do not belong together.
 * @throws FMG_ERR_KEY_UNAVAILABLE when a password cannot be had.
 */
export async function connectRedis (place: RedisPlace, whenLost: WhenLost, onError: (error: Error) => void = () => undefined): Promise<ConnectedRedis> {
  const { Redis, Cluster } = await import('ioredis').catch((cause: unknown) => {
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: 'redis needs the package ioredis: npm install ioredis', cause })
  })
  const common = { ...await readAccess(place), ...habits(whenLost) }
  const client = typeof place === 'object' && 'cluster' in place
    ? new Cluster(place.cluster.map(addressOf), clusterOptions(common, whenLost))
    : new Redis({ ...common, ...await serverOptions(place, common), retryStrategy, lazyConnect: true, enableOfflineQueue: whenLost === 'wait' })
  // What nobody listens for, ioredis prints.
  client.on('error', onError)
  const shared: RedisClient = client
  return {
    call: whenLost === 'fail' ? async (command, ...args) => await shared.call(command, ...args) : async (command, ...args) => await inTime(shared.call(command, ...args)),
    duplicate: () => shared.duplicate(),
    // Where no Sentinel answers, it would try for ever.
    async connect () { await inTime(client.connect()) },
    disconnect () { client.disconnect() }
  }
}

/** A cluster without nodes keeps commands until it has some, and a server that stands still never answers. */
async function inTime (asked: Promise<unknown>): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    const late = setTimeout(() => { reject(new Error(`no answer in ${silenceMs} ms`)) }, silenceMs)
    asked.finally(() => { clearTimeout(late) }).then(resolve, reject)
  })
}

function habits (whenLost: WhenLost): Common {
  return {
    connectTimeout: silenceMs,
    // A primary that became a replica will not be one again soon: its successor stands elsewhere.
    reconnectOnError: ({ message }) => message.includes('READONLY'),
    // Sent again, a command of which nobody waits for the answer would be counted twice.
    ...whenLost === 'fail' ? { maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false, socketTimeout: silenceMs } : { maxRetriesPerRequest: 1 }
  }
}

/** Twice as long each time, 2 seconds at most, and not all nodes at once. */
function retryStrategy (times: number): number {
  const longest = Math.min(2000, 50 * 2 ** Math.min(times, 6))
  return randomInt(longest / 2, longest)
}

async function serverOptions (place: Exclude<RedisPlace, { readonly cluster: readonly string[] }>, { tls }: Common): Promise<RedisOptions> {
  if (typeof place === 'object' && 'sentinels' in place) {
    const { sentinels, name, sentinelPassword, database } = place
    return {
      sentinels: sentinels.map(addressOf),
      name,
      // A primary that stands still keeps its connections: only the Sentinels tell that it was replaced.
      failoverDetector: true,
      sentinelCommandTimeout: silenceMs,
      sentinelRetryStrategy: retryStrategy,
      ...database !== undefined && { db: database },
      ...sentinelPassword !== undefined && { sentinelPassword: await readPassword(sentinelPassword) },
      ...tls !== undefined && { sentinelTLS: tls, enableTLSForSentinelMode: true }
    }
  }
  return locate(typeof place === 'string' ? place : place.url)
}

function locate (url: string): RedisOptions {
  if (url.startsWith('unix:')) return { path: url.slice('unix:'.length) }
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    ...port !== '' && { port: Number(port) },
    ...username !== '' && { username: decodeURIComponent(username) },
    ...password !== '' && { password: decodeURIComponent(password) },
    ...pathname.length > 1 && { db: Number(pathname.slice(1)) }
  }
}

function clusterOptions (common: Common, whenLost: WhenLost): ClusterOptions {
  return {
    redisOptions: common,
    lazyConnect: true,
    clusterRetryStrategy: retryStrategy,
    // Names stay names: certificates hold them, not the addresses they stand for.
    ...common.tls !== undefined && { dnsLookup: (name: string, done: (error: null, address: string) => void) => { done(null, name) } },
    ...whenLost === 'fail' && { retryDelayOnFailover: 0, retryDelayOnClusterDown: 0, retryDelayOnTryAgain: 0 }
  }
}

function addressOf (address: string): { readonly host: string, readonly port: number } {
  const { hostname, port } = new URL(`redis://${address}`)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) }
}

async function readAccess (place: RedisPlace): Promise<Common> {
  if (typeof place === 'string') return place.startsWith('rediss:') ? { tls: {} } : {}
  const { username, password } = place
  const tls = place.tls ?? ('url' in place && place.url.startsWith('rediss:') ? {} : undefined)
  return {
    ...username !== undefined && { username },
    ...password !== undefined && { password: await readPassword(password) },
    ...tls !== undefined && { tls: await readTls(tls) }
  }
}

async function readPassword (source: SecretSource): Promise<string> {
  return Buffer.from(await source.read()).toString().replace(/\r?\n$/, '')
}

async function readTls ({ caFile, certificateFile, keyFile, serverName }: RedisTls): Promise<ConnectionOptions> {
  const options = {
    ...caFile !== undefined && { ca: await readNamedFile(caFile) },
    ...certificateFile !== undefined && { cert: await readNamedFile(certificateFile) },
    ...keyFile !== undefined && { key: await readPrivateFile(keyFile) }
  }
  try {
    createSecureContext(options)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${[caFile, certificateFile, keyFile].filter((file) => file !== undefined).join(', ')} cannot be used for TLS`, cause })
  }
  return { ...options, ...serverName !== undefined && { servername: serverName } }
}
