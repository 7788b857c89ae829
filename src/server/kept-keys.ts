import { readDigestKeys } from '../audit/identity-file.ts'
import { fileSigningKeyStore } from '../authn/file-signing-key-store.ts'
import { readSigningKeys } from '../authn/signing-key.ts'
import { guardError } from '../errors.ts'
import { readPrivateFile } from '../files.ts'
import { readPepper } from '../pepper.ts'
import { keyFromFile, signerFromFile } from '../secrets/key-file.ts'
import { statusFailure } from '../secrets/ask-store.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { secretSince } from '../secrets/vault-secret.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** A key or a secret that a server has, and how it is looked at. */
export interface KeptKey {
  readonly name: string
  /** A reference, or `file:` and a path. */
  readonly from: string
  /** What stops working when it is lost. */
  readonly loss: string
  /** Made by the server when it is first needed: that it is not there is no fault. */
  readonly isMadeLater: boolean
  /**
   * Reads it, shows it to nobody, and forgets it.
   * @returns a number where it says itself since when it is in use: milliseconds since the epoch.
   */
  readonly look: () => Promise<unknown>
}

/** The references of a configuration as they stand in its file, by the path of the member. */
export type References = ReadonlyMap<string, string>

/** Every text in what a configuration file holds, by its path: `models.keys[0]`. */
export function referencesIn (value: unknown, path = ''): References {
  if (typeof value === 'string') return new Map([[path, value]])
  if (typeof value !== 'object' || value === null) return new Map()
  const inner = (name: string): string => Array.isArray(value) ? `${path}[${name}]` : path === '' ? name : `${path}.${name}`
  return new Map(Object.entries(value).flatMap(([name, member]) => Array.from(referencesIn(member, inner(name)))))
}

type Kept = Omit<KeptKey, 'from' | 'isMadeLater'> & { readonly from?: string, readonly member?: string, readonly file?: string, readonly isMadeLater?: boolean }

/** All keys and secrets of a server with this configuration. */
export function keptKeys (config: ServerConfig, data: DataFolder, references: References): readonly KeptKey[] {
  return [...ownKeys(config, data), ...modelKeysOf(config, data), ...givenSecrets(config), ...vaultLogin(config, references)].map(({ member = '', file = '', isMadeLater = false, ...kept }) =>
    ({ isMadeLater, from: references.get(member) ?? `file:${file}`, ...kept }))
}

/** What a server makes for itself where it is told of no other. */
function ownKeys ({ keys, audit, anomaly, models, redis }: ServerConfig, data: DataFolder): Kept[] {
  const openLog = audit.signer ?? (async () => await signerFromFile(data.logKey))
  return [
    {
      name: 'pepper',
      member: 'keys.pepper',
      file: data.pepper,
      loss: 'every API key; new ones must be given to everybody',
      look: async () => {
        requireBytes(await readPepper(keys.pepper ?? data.pepper), 32)
        return await secretSince(keys.pepper)
      }
    },
    {
      name: 'log signing key',
      member: 'audit.signer',
      file: data.logKey,
      loss: 'the log goes on under another name or not at all; what is signed stays verifiable',
      look: async () => { await (await openLog()).sign(Buffer.from('keys doctor')) }
    },
    { name: 'audit digest keys and identities', file: data.identities, isMadeLater: true, loss: 'records can no longer be joined to people, nor digests be checked', look: async () => await newestDigestKey(data.identities) },
    ...redis === undefined
      ? [{ name: 'token and session signing keys', file: data.tokenKeys, isMadeLater: true, loss: 'every token and browser session; people log in again', look: async () => await newestSigningKey(data.tokenKeys) }]
      : [],
    ...models.trustFile === undefined
      ? [{ name: 'model signing key', file: data.modelSigningKey, loss: 'no new model can be signed; those that are signed stay good', look: async () => { await signerFromFile(data.modelSigningKey) } }]
      : [],
    ...anomaly.sketches
      ? [{ name: 'sketch key', member: 'anomaly.sketchKey', file: data.sketchKey, isMadeLater: anomaly.sketchKey === undefined, loss: 'inputs of before and after are no longer seen to be alike', look: async () => { requireBytes(await readPepper(anomaly.sketchKey ?? data.sketchKey), 32) } }]
      : []
  ]
}

function modelKeysOf ({ models: { keys } }: ServerConfig, data: DataFolder): Kept[] {
  const openers = keys ?? [async () => await keyFromFile(data.modelWrappingKey)]
  return openers.map((open, index) => ({
    name: `model key ${index + 1}`,
    member: `models.keys[${index}]`,
    file: data.modelWrappingKey,
    loss: 'every model that no other key opens',
    look: async () => { await open() }
  }))
}

/** What others made, and the configuration names. */
function givenSecrets ({ redis, login, anomaly: { webhook }, decisionPoint, listen: { tls } }: ServerConfig): Kept[] {
  const place = typeof redis === 'object' ? redis : undefined
  return [
    ...secret('Redis password', 'redis.password', place?.password, 'what is shared over Redis: limits, keys, tokens'),
    ...secret('Sentinel password', 'redis.sentinelPassword', place !== undefined && 'sentinels' in place ? place.sentinelPassword : undefined, 'finding the Redis that is primary'),
    ...file('Redis client key', place?.tls?.keyFile, 'what is shared over Redis: limits, keys, tokens'),
    ...(login?.providers ?? []).flatMap(({ clientSecret, kind }, index) => secret(`login secret ${index + 1} (${kind})`, `login.providers[${index}].clientSecret`, clientSecret, 'logins by this provider')),
    ...secret('webhook secret', 'anomaly.webhook.secret', webhook?.secret, 'receivers take no alert for genuine'),
    ...secret('decision point token', 'decisionPoint.token', decisionPoint?.token, 'every decision: all is refused'),
    ...file('TLS key', tls?.keyFile, 'connections to this server; a new certificate is needed')
  ]
}

// The member of each way of logging in by which the way is known.
const loginMember = /^vault\.login\.(token$|appRole(?=\.secretId$)|jwt(?=\.token$)|kubernetes(?=\.role$))/

function vaultLogin ({ vault }: ServerConfig, references: References): Kept[] {
  if (vault === undefined) return []
  return Array.from(references).flatMap(([member, value]) => (loginMember.exec(member) ?? []).slice(1).map((method) => ({
    name: 'Vault login',
    from: `${method}: ${value}`,
    loss: 'every secret and key in Vault, until there is another login',
    look: async () => {
      const answer = await vault.ask('auth/token/lookup-self')
      if (answer.status !== 200) throw statusFailure(answer)
    }
  })))
}

function secret (name: string, member: string, source: SecretSource | undefined, loss: string): Kept[] {
  if (source === undefined) return []
  return [{
    name,
    member,
    loss,
    look: async () => {
      requireBytes(await source.read(), 1)
      return await secretSince(source)
    }
  }]
}

function file (name: string, path: string | undefined, loss: string): Kept[] {
  return path === undefined ? [] : [{ name, file: path, loss, look: async () => { requireBytes(await readPrivateFile(path), 1) } }]
}

function requireBytes (bytes: Uint8Array, least: number): void {
  const { length } = bytes
  bytes.fill(0)
  if (length < least) throw guardError('FMG_ERR_FILE', { detail: `holds ${length} bytes, of at least ${least}` })
}

async function newestDigestKey (path: string): Promise<number> {
  // Epochs are months, and sort as text.
  const epoch = (await readDigestKeys(path)).map((key) => key.epoch).filter((epoch) => /^\d{4}-\d{2}$/.test(epoch)).sort().at(-1)
  return Date.parse(`${String(epoch)}-01T00:00:00Z`)
}

async function newestSigningKey (path: string): Promise<number | undefined> {
  return readSigningKeys(await fileSigningKeyStore({ file: path }).read(), []).findLast(({ signsFrom }) => signsFrom <= Date.now())?.signsFrom
}
