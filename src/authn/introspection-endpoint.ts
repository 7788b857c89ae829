import type { Fetch, FetchLimits } from '../bounded-fetch.ts'
import { guardError } from '../errors.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { isJsonObject, type JsonObject } from '../strict-json.ts'
import { fetchJson } from './fetch-json.ts'

export interface IntrospectionEndpoint extends FetchLimits {
  readonly endpoint: string
  readonly clientId: string
  readonly clientSecret: SecretSource
  readonly maxPending: number
  readonly fetch: Fetch
}

/**
 * Asks an issuer about tokens (RFC 7662 section 2).
 * What comes back is what it says of an active token; `null` for any other.
 * @throws FMG_ERR_ISSUER_UNAVAILABLE when it does not answer, or too many questions wait for one.
 */
export function introspector ({ endpoint, clientId, clientSecret, maxPending, fetch, ...limits }: IntrospectionEndpoint): (token: string) => Promise<JsonObject | null> {
  let pending = 0
  return async (token) => {
    // Strangers' tokens are asked about, too: their number does not fill the memory of this server, nor that of the issuer.
    if (pending >= maxPending) throw guardError('FMG_ERR_ISSUER_UNAVAILABLE', { reason: 'introspection-overloaded' })
    pending++
    try {
      const answer = await fetchJson(fetch, endpoint, limits, {
        method: 'POST',
        headers: { authorization: await basic(clientId, clientSecret), 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ token, token_type_hint: 'access_token' }).toString()
      })
      return isJsonObject(answer) && answer.active === true ? answer : null
    } finally {
      pending--
    }
  }
}

/** RFC 6749 section 2.3.1: both parts as in a form. */
async function basic (clientId: string, clientSecret: SecretSource): Promise<string> {
  const secret = Buffer.from(await clientSecret.read()).toString()
  return `Basic ${Buffer.from(`${asInForm(clientId)}:${asInForm(secret)}`).toString('base64')}`
}

function asInForm (text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1)
}
