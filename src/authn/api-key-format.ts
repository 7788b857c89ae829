import { crc32 } from 'node:zlib'
import { randomBase62, toBase62 } from '../encoding.ts'

/** The parts of `fmg_<env>_<key id>_<secret><checksum>`. */
export interface ApiKeyParts {
  /** Lower-case letters and digits, for instance `live`. */
  readonly environment: string
  /** 12 base62 characters; public. */
  readonly keyId: string
  /** 43 base62 characters, 256 bits. */
  readonly secret: string
}

const idLength = 12
const secretLength = 43

/** Finds API keys in any text: the expression to give to secret scanners. What it finds need not be a key that was ever made; `parseApiKey` checks the sum. */
export const apiKeyPattern = /\bfmg_[a-z0-9]{1,16}_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\b/

const wholeKey = /^fmg_([a-z0-9]{1,16})_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/

/** Whether this can be the environment in a key's text. */
export function isEnvironment (word: string): boolean {
  return /^[a-z0-9]{1,16}$/.test(word)
}

/** Draws a new key. */
export function drawApiKey (environment: string): ApiKeyParts {
  return { environment, keyId: randomBase62(idLength), secret: randomBase62(secretLength) }
}

/** Writes a key as its holder keeps it. */
export function formatApiKey ({ environment, keyId, secret }: ApiKeyParts): string {
  return `fmg_${environment}_${keyId}_${secret}${checksum(keyId, secret)}`
}

/** Reads a key; `null` for a wrong shape or a wrong checksum, which tells a typing mistake from a guess before any store is asked. */
export function parseApiKey (text: string): ApiKeyParts | null {
  const [, environment, keyId, secret, sum] = wholeKey.exec(text) ?? []
  if (environment === undefined || keyId === undefined || secret === undefined || sum !== checksum(keyId, secret)) return null
  return { environment, keyId, secret }
}

/** CRC-32 (not a security measure) in base62, left-padded to six characters. */
function checksum (keyId: string, secret: string): string {
  return toBase62(crc32(keyId + secret), 6)
}
