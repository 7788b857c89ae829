import { stat } from 'node:fs/promises'
import path from 'node:path'
import { isGuardError } from '../errors.ts'
import { exists } from '../files.ts'
import { readBundle } from '../model/bundle.ts'
import { readSmallFile } from '../model/folder.ts'
import { findBundles } from '../model/rewrap-folder.ts'
import { kindIn, openBundleKey, readBundleEnvelope } from '../model/sealed-bundle.ts'
import { readStatement } from '../model/statement.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import type { ServerConfig } from './config.ts'
import { dataFolder, type DataFolder } from './data-folder.ts'
import { keptKeys, type KeptKey, type References } from './kept-keys.ts'
import { modelKeys } from './model-keys.ts'

/** What is known of one key, and nothing of what it is. */
export interface KeyFinding {
  readonly name: string
  readonly from: string
  /** RFC 3339, when it began to be used, or when its file was last written; `unknown` where neither tells. */
  readonly rotated: string
  /** `readable`, `not-made-yet`, or why it cannot be read. */
  readonly state: string
  /** What is wrong with the permissions of its file, for which a private key is not read at all; `null` where nothing is, or there is no file. */
  readonly permissions: string | null
  /** What stops working when it is lost. */
  readonly loss: string
  readonly ok: boolean
}

/** Who opens a sealed bundle. */
export interface BundleFinding {
  readonly bundle: string
  /** Configured keys that open it: tried, not only named. */
  readonly opensWith: readonly string[]
  /** Others it is sealed for. */
  readonly others: readonly string[]
  /** Whether one configured key is all that opens it. */
  readonly onlyOne: boolean
  /** Why a key of this configuration that it is for does not open it, or that it is for none; `null` where all do. */
  readonly problem: string | null
  readonly ok: boolean
}

/** How it stands with the keys of a server. */
export interface KeysReport {
  readonly keys: readonly KeyFinding[]
  readonly bundles: readonly BundleFinding[]
  readonly ok: boolean
}

/**
 * Looks at every key and secret that a server with this configuration uses. Changes nothing, and starts nothing.
 * @param file of the configuration: paths in references are relative to its folder.
 */
export async function reportKeys (config: ServerConfig, file: string, references: References): Promise<KeysReport> {
  const data = dataFolder(config.data)
  const keys: KeyFinding[] = []
  for (const kept of keptKeys(config, data, references)) keys.push(await lookAt(kept, path.dirname(file)))
  const bundles = await lookAtBundles(config, data)
  return { keys, bundles, ok: keys.every(({ ok }) => ok) && bundles.every(({ ok }) => ok) }
}

async function lookAt ({ name, from, loss, look, isMadeLater }: KeptKey, folder: string): Promise<KeyFinding> {
  const file = from.startsWith('file:') ? path.resolve(folder, from.slice('file:'.length)) : undefined
  const facts = file === undefined ? undefined : await stat(file).catch(() => undefined)
  const permissions = facts !== undefined && (facts.mode & 0o077) !== 0 ? `others may read it: chmod 600 ${String(file)}` : null
  const finding = { name, from, loss, permissions }
  if (isMadeLater && file !== undefined && facts === undefined) return { ...finding, rotated: 'unknown', state: 'not-made-yet', ok: true }
  try {
    const since = Number(await look())
    const rotated = Number.isNaN(since) ? facts?.mtimeMs : since
    return { ...finding, rotated: rotated === undefined ? 'unknown' : new Date(rotated).toISOString(), state: 'readable', ok: true }
  } catch (error) {
    return { ...finding, rotated: 'unknown', state: why(error), ok: false }
  }
}

async function lookAtBundles (config: ServerConfig, data: DataFolder): Promise<readonly BundleFinding[]> {
  // What cannot be opened now is told of with the keys.
  const openers = config.models.keys?.map((open) => ({ ...config, models: { ...config.models, keys: [open] } })) ?? [config]
  const keys = (await Promise.all(openers.map(async (one) => await modelKeys(one, data).catch(() => [])))).flat()
  const folders = (await Promise.all([data.models, data.modelVersions].map(async (folder) => await exists(folder) ? await findBundles(folder).catch(noBundles) : []))).flat()
  const found: BundleFinding[] = []
  for (const folder of folders) found.push(await lookAtBundle(folder, path.relative(data.root, folder), keys))
  return found
}

function noBundles (error: unknown): readonly string[] {
  if (isGuardError(error, 'FMG_ERR_FILE')) return []
  throw error
}

async function lookAtBundle (folder: string, bundle: string, keys: readonly KeyProvider[]): Promise<BundleFinding> {
  const opensWith: string[] = []
  const problems: string[] = []
  try {
    const { recipients } = await readBundleEnvelope(folder)
    const kind = await kindIn(folder)
    const statement = readStatement(readBundle(await readSmallFile(folder, kind.signature, kind.maxSignatureBytes), kind.signature).payload, kind.signature)
    for (const key of keys.filter(({ keyId }) => recipients.some((recipient) => recipient.keyId === keyId))) {
      await openBundleKey(kind, folder, statement, [key]).then((bytes) => {
        bytes.fill(0)
        opensWith.push(key.keyId)
      }, (error: unknown) => { problems.push(`${key.keyId}: ${why(error)}`) })
    }
    const others = recipients.map(({ keyId }) => keyId).filter((keyId) => !opensWith.includes(keyId))
    if (opensWith.length + problems.length === 0) problems.push('it is for none of the configured keys')
    return { bundle, opensWith, others, onlyOne: opensWith.length === 1 && others.length === 0, problem: problems.join('; ') || null, ok: problems.length === 0 }
  } catch (error) {
    return { bundle, opensWith, others: [], onlyOne: false, problem: why(error), ok: false }
  }
}

/** Of errors of this package what they say and why; of others, which might quote a secret, the name alone. */
function why (error: unknown): string {
  if (!isGuardError(error)) return `cannot be read (${String(Reflect.get(Object(error), 'name'))})`
  const { code, message, statusCode, cause } = error
  return statusCode === 503 && cause instanceof Error ? `${code}: ${message}; ${cause.message}` : `${code}: ${message}`
}
