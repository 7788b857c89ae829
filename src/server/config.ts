import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { parseDocument } from 'yaml'
import type { Durability } from '../audit/appender.ts'
import type { JwtIssuerOptions } from '../authn/jwt-issuer.ts'
import { guardError } from '../errors.ts'
import { readWindows } from '../limits/windows.ts'
import { readMode } from '../plugins/refusal.ts'
import { allOptional, anyThat, integer, listOf, object, oneOf, optional, recordOf, string, withDefault, type Read } from '../options.ts'

const defaultTiers = {
  trial: { windows: [{ name: 'minute', quota: 10, windowSeconds: 60 }] },
  standard: { windows: [{ name: 'burst', quota: 20, windowSeconds: 1 }, { name: 'minute', quota: 600, windowSeconds: 60 }] },
  unlimited: { windows: [{ name: 'second', quota: 10_000, windowSeconds: 1 }] }
}

// Read in full by `jwt`.
const readIssuer = anyThat((value): value is JwtIssuerOptions => typeof value === 'object' && value !== null, 'the options of an issuer')

const readConfig = object({
  /** Where it listens. Anything but loopback needs `tls`, or `plaintext: allow` behind a proxy that ends TLS. */
  listen: allOptional({
    host: withDefault(string(), '127.0.0.1'),
    port: withDefault(integer({ min: 0, max: 65_535 }), 3000),
    /** Addresses or networks of proxies whose X-Forwarded-For is believed. Default: none. */
    trustProxy: optional(listOf(string())),
    tls: optional(object({ keyFile: string(), certificateFile: string() })),
    plaintext: withDefault(oneOf<'refuse' | 'allow'>('refuse', 'allow'), 'refuse')
  }),
  /** Folder of everything this server keeps. Default `./data`. */
  data: withDefault(string(), 'data'),
  /** `redis://…`: limits are shared by all nodes that name the same one. Default: this process alone. */
  redis: optional(string(/^(redis|rediss|unix):\S+$/, 'a Redis URL')),
  /** Policy file. Default `policy.yaml` in the data folder. */
  policy: optional(string()),
  /** What policies see as `environment`. */
  environment: withDefault(string(), 'production'),
  mode: readMode,
  limits: withDefault(object({
    defaultTier: string(),
    tiers: recordOf(object({ windows: readWindows }))
  }), { defaultTier: 'standard', tiers: defaultTiers }),
  /** Whose access tokens are taken beside API keys: as in {@link JwtIssuerOptions}. Default: nobody's. */
  issuers: withDefault(listOf(readIssuer), []),
  audit: allOptional({
    durability: withDefault(oneOf<Durability>('before-response', 'async'), 'before-response')
  }),
  models: allOptional({
    timeoutMs: withDefault(integer({ min: 1 }), 30_000),
    queueLimit: withDefault(integer({ min: 1 }), 64)
  }),
  /** Largest request body. Default 64 MiB. */
  maxBodyBytes: withDefault(integer({ min: 1 }), 67_108_864)
})

/** What the reference server is told by its configuration file; every member has a default. */
export type ServerConfig = Read<typeof readConfig>

/** The configuration of a server that was told nothing. */
export const defaultConfig: ServerConfig = readConfig({}, 'config')

/**
 * Reads a YAML or JSON configuration file; paths in it are relative to its folder.
 * @throws FMG_ERR_OPTION_INVALID naming the file, the line or the member.
 */
export async function loadConfig (file: string): Promise<ServerConfig> {
  const document = parseDocument(await readText(file), { uniqueKeys: true, merge: false, prettyErrors: true })
  const [problem] = document.errors
  if (problem !== undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `${file}: ${problem.message.replace(/\n[^]*/, '')}` })
  const value: unknown = document.toJS({ maxAliasCount: 0 })
  const config = readConfig(value ?? {}, path.basename(file))
  const folder = path.dirname(path.resolve(file))
  const { tls } = config.listen
  return {
    ...config,
    data: path.resolve(folder, config.data),
    policy: config.policy === undefined ? undefined : path.resolve(folder, config.policy),
    listen: { ...config.listen, tls: tls === undefined ? undefined : { keyFile: path.resolve(folder, tls.keyFile), certificateFile: path.resolve(folder, tls.certificateFile) } }
  }
}

async function readText (file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${file}`, cause })
  }
}
