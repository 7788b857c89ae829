import { boundedFetch, type Fetch, type FetchLimits } from '../bounded-fetch.ts'
import { guardError, isGuardError } from '../errors.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import { isJsonObject, parseStrictJson, type JsonObject } from '../strict-json.ts'
import type { Breaker } from '../breaker.ts'

export interface AuthzenEndpointOptions extends FetchLimits {
  readonly evaluationUrl: string
  readonly token: SecretSource | undefined
  readonly tokenHeader: string
  readonly breaker: Breaker
  readonly retryAfterMs: number
  readonly fetch: Fetch
}

/** An answer, its obligations not yet read. */
export interface EndpointAnswer {
  readonly decision: boolean
  readonly obligations: unknown
}

/**
 * Asks a decision point (AuthZEN 1.0 section 6), over connections that are kept.
 * @throws FMG_ERR_POLICY_UNAVAILABLE when it is down or slow, and for whatever is not an answer of status 200 with a decision in it.
 */
export function authzenEndpoint ({ evaluationUrl, token, tokenHeader, breaker, retryAfterMs, fetch, ...limits }: AuthzenEndpointOptions): (message: JsonObject) => Promise<EndpointAnswer> {
  return async function ask (message) {
    const body = JSON.stringify(message)
    let status: number | undefined
    try {
      const headers = { 'content-type': 'application/json', ...token !== undefined && { [tokenHeader]: await readToken(token, tokenHeader) } }
      const waitMs = breaker.wait()
      if (waitMs > 0) throw unavailable('decision-point-resting', waitMs)
      const response = await boundedFetch(fetch, evaluationUrl, limits, { method: 'POST', headers, body })
      status = response.status
      const bytes = await response.read()
      if (status !== 200) throw new Error(`status ${status}`)
      const answer = readAnswer(bytes)
      breaker.close()
      return answer
    } catch (cause) {
      if (isGuardError(cause)) throw cause
      if (isAboutQuestion(status)) breaker.close()
      else breaker.fail()
      throw unavailable('decision-point-unavailable', retryAfterMs, cause)
    }
  }
}

/** A caller who brings a decision point to refuse one question must not end the questions of everyone. */
function isAboutQuestion (status = 0): boolean {
  return status >= 400 && status < 500 && status !== 429
}

function readAnswer (bytes: Buffer): EndpointAnswer {
  // One that can be read in two ways is none: another reader of it may have seen the other decision.
  const { decision, context = {} } = parseStrictJson(bytes) ?? {}
  if (typeof decision !== 'boolean' || !isJsonObject(context)) throw new Error('no decision')
  return { decision, obligations: context.obligations }
}

const headerValue = /^[!-~](?:[ -~]*[!-~])?$/

async function readToken (token: SecretSource, header: string): Promise<string> {
  // No header holds the line feed that an editor leaves at the end of a file.
  const text = Buffer.from(await token.read()).toString('latin1').replace(/\r?\n$/, '')
  // `fetch` would quote it in its error.
  if (!headerValue.test(text)) throw guardError('FMG_ERR_KEY_UNAVAILABLE', { reason: 'decision-point-token' })
  return header === 'authorization' ? `Bearer ${text}` : text
}

function unavailable (reason: string, retryAfterMs: number, cause?: unknown): Error {
  return guardError('FMG_ERR_POLICY_UNAVAILABLE', { reason, headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) }, cause })
}
