import { boundedFetch, isTrustworthyUrl, type Fetch, type FetchLimits, type FetchRequest } from '../bounded-fetch.ts'
import { guardError, isGuardError } from '../errors.ts'
import { optionInvalid, type Reader } from '../options.ts'
import { badCredential } from './bad-credential.ts'

/** What is sent to an issuer beside the URL. */
export interface IssuerRequest extends FetchRequest {
  /** Statuses that say that the credential sent along is not good (any more). Default: none, they are failures like others. */
  readonly refusals?: readonly number[]
}

/**
 * Asks an issuer for JSON, within these limits.
 * @throws FMG_ERR_CREDENTIAL_INVALID with reason `issuer-refused` for a status among `refusals`.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE for whatever else is not an answer of status 200 with JSON in it.
 */
export async function fetchJson (fetch: Fetch, url: string, limits: FetchLimits, { refusals = [], ...request }: IssuerRequest = {}): Promise<unknown> {
  try {
    const { status, read } = await boundedFetch(fetch, url, limits, request)
    if (refusals.includes(status)) throw badCredential('issuer-refused')
    if (status !== 200) throw new Error(`status ${status}`)
    return JSON.parse((await read()).toString())
  } catch (cause) {
    if (isGuardError(cause)) throw cause
    throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'issuer-unavailable', cause })
  }
}

/** The URL of someone who knows people. `|` would make principal ids of two of them the same. */
export const readIssuerUrl: Reader<string> = (value, path) => {
  if (!isTrustworthyUrl(value) || value.includes('|')) throw optionInvalid(path, 'an https URL without user, password, fragment and |', value)
  return value
}
