import { createPublicKey, hash, verify } from 'node:crypto'
import type { Fetch, FetchLimits } from '../bounded-fetch.ts'
import { guardError } from '../errors.ts'
import { listOf, object, string } from '../options.ts'
import { isJsonObject } from '../strict-json.ts'
import { cachedKeys, type CachedKeysOptions } from './cached-keys.ts'
import { fetchJson } from './fetch-json.ts'
import type { KeySet } from './key-set.ts'
import type { VerificationKey } from './verification-key.ts'

/** One secret that GitHub found in public. */
export interface SecretAlert {
  /** The secret, as it was found. */
  readonly token: string
  /** What GitHub calls secrets of its kind. */
  readonly type: string
}

export interface GithubKeysOptions extends CachedKeysOptions, FetchLimits {
  readonly url: string
  readonly fetch: Fetch
}

/**
 * The keys that GitHub signs alerts with. All that it publishes count, not only the current one: an alert may have been signed
 * before a rotation, and GitHub's own instructions choose by the identifier alone.
 */
export function githubKeys (options: GithubKeysOptions): KeySet {
  return cachedKeys(options, async () => readKeys(await fetchJson(options.fetch, options.url, options)))
}

function readKeys (document: unknown): readonly VerificationKey[] {
  if (!isJsonObject(document) || !Array.isArray(document.public_keys)) throw new Error('not a list of public keys')
  return document.public_keys.flatMap((entry: unknown) => readKey(entry) ?? [])
}

function readKey (entry: unknown): VerificationKey | null {
  if (!isJsonObject(entry) || typeof entry.key_identifier !== 'string' || typeof entry.key !== 'string') return null
  try {
    const key = createPublicKey(entry.key)
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? { kid: entry.key_identifier, algorithm: 'ES256', key } : null
  } catch {
    // Not a key.
    return null
  }
}

/** What an alert comes with. */
export interface SignedAlert {
  /** Header `Github-Public-Key-Identifier`. */
  readonly identifier: unknown
  /** Header `Github-Public-Key-Signature`. */
  readonly signature: unknown
  /** As received: any other spelling of the same JSON has another signature. */
  readonly body: Buffer
}

const base64 = /^[A-Za-z0-9+/]{60,200}={0,2}$/

/**
 * The alerts in a message, once it is known to be GitHub's: ECDSA over P-256 with SHA-256, in DER, by a key that GitHub publishes.
 * @throws FMG_ERR_ACCESS_DENIED with reason `alert-signature`.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE when its keys cannot be reached.
 * @throws FMG_ERR_INPUT_INVALID when the message is not a list of alerts.
 */
export async function readGithubAlert ({ identifier, signature, body }: SignedAlert, keys: KeySet): Promise<readonly SecretAlert[]> {
  if (typeof identifier !== 'string' || typeof signature !== 'string' || !base64.test(signature)) throw unsigned()
  const found = await keys.find(identifier, 'ES256')
  if (found === null || !verify('sha256', body, found.key, Buffer.from(signature, 'base64'))) throw unsigned()
  return parseAlerts(body)
}

const readAlerts = listOf((value: unknown): SecretAlert => {
  const { token, type } = isJsonObject(value) ? value : {}
  return object({ token: string(), type: string() })({ token, type }, 'alert')
})

function parseAlerts (body: Buffer): readonly SecretAlert[] {
  try {
    return readAlerts(JSON.parse(body.toString()), 'alerts')
  } catch {
    // The parser's own message would quote what it read.
    throw guardError('FMG_ERR_INPUT_INVALID', { detail: 'not a list of alerts', reason: 'alert-malformed' })
  }
}

function unsigned (): Error {
  return guardError('FMG_ERR_ACCESS_DENIED', { reason: 'alert-signature' })
}

/** What GitHub is told of one of its alerts: by the SHA-256 of the secret, never by the secret. */
export interface AlertFeedback {
  readonly token_hash: string
  readonly token_type: string
  readonly label: 'true_positive' | 'false_positive'
}

/** The feedback for an alert. */
export function alertFeedback ({ token, type }: SecretAlert, isGenuine: boolean): AlertFeedback {
  return { token_hash: hash('sha256', token, 'hex'), token_type: type, label: isGenuine ? 'true_positive' : 'false_positive' }
}
