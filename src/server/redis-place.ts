import { integer, listOf, object, optional, optionInvalid, string, type Reader } from '../options.ts'

/** One server; the primary that Sentinels name, and its successors; or a cluster. Text is the URL of a server. */
export type RedisPlace = string | RedisServer | RedisSentinels | RedisCluster

interface RedisAccess {
  /** User of Redis's access control list. Default: `default`. */
  readonly username?: string | undefined
  /** A file with the password alone, readable by its owner alone. */
  readonly passwordFile?: string | undefined
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
  /** A file with their own password, where they have one. */
  readonly sentinelPasswordFile?: string | undefined
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

const readTls: Reader<RedisTls> = (value, path) => {
  const tls = object({ caFile: optional(string()), certificateFile: optional(string()), keyFile: optional(string()), serverName: optional(string()) })(value, path)
  if ((tls.certificateFile === undefined) !== (tls.keyFile === undefined)) throw optionInvalid(path, 'given certificateFile and keyFile together', value)
  return tls
}

const access = { username: optional(string()), passwordFile: optional(string()), tls: optional(readTls) }
const readUrl = string(/^((redis|rediss):\/\/|unix:\/)\S+$/, 'redis://…, rediss://… or unix:/…')
const readServer: Reader<RedisServer> = object({ url: readUrl, ...access })
const readSentinels: Reader<RedisSentinels> = object({ sentinels: readAddresses, name: string(), sentinelPasswordFile: optional(string()), database: optional(integer({ min: 0 })), ...access })
const readCluster: Reader<RedisCluster> = object({ cluster: readAddresses, ...access })

/** Reads where a Redis is: a URL, or an object of one of three kinds. */
export const readRedisPlace: Reader<RedisPlace> = (value, path) => {
  if (typeof value !== 'object' || value === null) return readUrl(value, path)
  if ('sentinels' in value) return readSentinels(value, path)
  if ('cluster' in value) return readCluster(value, path)
  const server = readServer(value, path)
  if (server.tls !== undefined && !server.url.startsWith('rediss:')) throw optionInvalid(`${path}.tls`, 'given with rediss:// alone', value)
  const { username, password } = new URL(server.url)
  if (server.passwordFile !== undefined && password !== '') throw optionInvalid(`${path}.passwordFile`, 'left out where the url has a password', value)
  if (server.username !== undefined && username !== '') throw optionInvalid(`${path}.username`, 'left out where the url has one', value)
  return server
}

/** The same place, its files as this function names them. */
export function withFiles (place: RedisPlace, named: (file: string) => string): RedisPlace {
  if (typeof place === 'string') return place
  const rename = (file: string | undefined): string | undefined => file === undefined ? undefined : named(file)
  const { tls, passwordFile } = place
  const files = {
    passwordFile: rename(passwordFile),
    tls: tls === undefined ? undefined : { ...tls, caFile: rename(tls.caFile), certificateFile: rename(tls.certificateFile), keyFile: rename(tls.keyFile) }
  }
  return 'sentinels' in place ? { ...place, ...files, sentinelPasswordFile: rename(place.sentinelPasswordFile) } : { ...place, ...files }
}
