import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { badCredential } from './bad-credential.ts'

/** What a token is bound to (RFC 7800): its holder must prove to have it. */
export interface TokenBinding {
  /** `x5t#S256` of RFC 8705 section 3.1. */
  readonly certificate: string | undefined
  /** `jkt` of RFC 9449 section 6.1. */
  readonly key: string | undefined
}

const digest = /^[\w-]{43}$/

/**
 * Reads `cnf`; `null` for a bearer token.
 * @throws FMG_ERR_CREDENTIAL_INVALID for a way of binding that is not known here: a token whose binding is not enforced is a stolen one's friend.
 */
export function readBinding ({ cnf }: JsonObject): TokenBinding | null {
  if (cnf === undefined) return null
  if (!isJsonObject(cnf)) throw badCredential('jwt-confirmation')
  const { 'x5t#S256': certificate, jkt: key, ...unknown } = cnf
  const isKnown = isOptionalDigest(certificate) && isOptionalDigest(key)
  if (!isKnown || Object.keys(unknown).length > 0 || (certificate ?? key) === undefined) throw badCredential('jwt-confirmation')
  return { certificate, key }
}

function isOptionalDigest (value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && digest.test(value))
}
