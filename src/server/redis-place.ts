import { integer, listOf, object, optional, optionInvalid, string, type Reader } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { Places } from './places.ts'

/** One server; the primary that Sentinels name, and its successors; or a cluster. Text is the URL of a server. */
export type RedisPlace = string | RedisServer | RedisSentinels | RedisCluster

interface RedisAccess {
  /** User of Redis's access control list. Default: `default`. */
  readonly username?: string | undefined
  /** The password alone. */
  readonly password?: SecretSource | undefined
  /** How a Redis is known, and how it knows this node. Given, all connections are TLS, those to Sentinels too. */
  readonly tls?: RedisTls | undefined
}

export interface RedisServer extends RedisAccess {
  /** `redis://…`, `rediss://…` (TLS) or `unix:/path`. */
  readonly url: string
}

export interface RedisSentinels extends RedisAccess {
  /** `host:port` of each. */
  readonly sentinels: readonly string[]
  /** What they call the primary. */
  readonly name: string
  /** Their own password, where they have one. */
  readonly sentinelPassword?: SecretSource | undefined
  /** Default 0. */
  readonly database?: number | undefined
}

export interface RedisCluster extends RedisAccess {
  /** `host:port` of some of its nodes; the others are learned from them. */
  readonly cluster: readonly string[]
}

/** The certificate of a Redis is always checked. */
export interface RedisTls {
  /** Who signs its certificate, in PEM. Default: the authorities that Node.js trusts. */
  readonly caFile?: string | undefined
  /** What this node presents, with its chain, and the key; in PEM, the key readable by its owner alone. Default: nothing. */
  readonly certificateFile?: string | undefined
  readonly keyFile?: string | undefined
  /** The name that the certificate must hold. Default: that of the address. */
  readonly serverName?: string | undefined
}

const readAddress = string(/^([^\s:@/?#[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/, 'host:port')

const readAddresses: Reader<readonly string[]> = (value, path) => {
  const addresses = listOf(readAddress)(value, path)
  if (addresses.length === 0) throw optionInvalid(path, 'a list of at least one host:port', value)
  return addresses
}

/** Reads where a Redis is: a URL, or an object of one of three kinds. */
export function readRedisPlace ({ file, secret }: Places): Reader<RedisPlace> {
  const access = { username: optional(string()), password: optional(secret), tls: optional(readTls(file)) }
  const readServer = object({ url: readUrl, ...access })
  const readSentinels = object({ sentinels: readAddresses, name: string(), sentinelPassword: optional(secret), database: optional(integer({ min: 0 })), ...access })
  const readCluster = object({ cluster: readAddresses, ...access })
  return (value, path) => {
    if (typeof value !== 'object' || value === null) return readUrl(value, path)
    if ('sentinels' in value) return readSentinels(value, path)
    if ('cluster' in value) return readCluster(value, path)
    return requireOnce(readServer(value, path), path)
  }
}

function readTls (file: Reader<string>): Reader<RedisTls> {
  const read = object({ caFile: optional(file), certificateFile: optional(file), keyFile: optional(file), serverName: optional(string()) })
  return (value, path) => {
    const tls = read(value, path)
    if ((tls.certificateFile === undefined) !== (tls.keyFile === undefined)) throw optionInvalid(path, 'given certificateFile and keyFile together', value)
    return tls
  }
}

const readUrl = string(/^((redis|rediss):\/\/|unix:\/)\S+$/, 'redis://…, rediss://… or unix:/…')

/** What its URL says is not said again beside it. */
function requireOnce (server: RedisServer, path: string): RedisServer {
  if (server.tls !== undefined && !server.url.startsWith('rediss:')) throw optionInvalid(`${path}.tls`, 'given with rediss:// alone', server)
  const { username, password } = new URL(server.url)
  if (server.password !== undefined && password !== '') throw optionInvalid(`${path}.password`, 'left out where the url has a password', server)
  if (server.username !== undefined && username !== '') throw optionInvalid(`${path}.username`, 'left out where the url has one', server)
  return server
}
