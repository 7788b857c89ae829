import { readUrl, type Fetch } from '../bounded-fetch.ts'
import { functionOf, havingMethods, integer, listOf, object, optional, string, withDefault } from '../options.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { JsonObject } from '../strict-json.ts'
import { authzenEndpoint, type EndpointAnswer } from './authzen-endpoint.ts'
import { authzenPaths } from './authzen-endpoints.ts'
import { authzenMessage, subjectPropertiesOf } from './authzen-message.ts'
import { readObligations } from './authzen-obligations.ts'
import { breaker } from '../breaker.ts'
import type { AskedPrincipal, Decision, Policy } from './policy.ts'

export interface AuthzenOptions {
  /** The https URL of the decision point (http on loopback), as its metadata names it. */
  readonly url: string
  /** Where it answers one question. Default: `/access/v1/evaluation` below `url`. */
  readonly evaluationUrl?: string
  /** What this server is to be recognised by. Default: nothing is sent. */
  readonly token?: SecretSource
  /** The header that it is sent in, as it is; `Bearer` stands before it in `authorization`, which is the default. */
  readonly tokenHeader?: string
  /** What it is told of a principal beside type and id; for instance `(principal) => ({ 'cerbos.roles': principal.roles })`. Default: org, team, tier, roles, scopes, the attributes, and method and issuer of the credential. */
  readonly subjectProperties?: (principal: AskedPrincipal) => JsonObject
  /** Tiers that its answers may oblige to. One that names another is a denial. Default: none. */
  readonly tiers?: readonly string[]
  /** Until an answer must be there. Default 1,000. */
  readonly timeoutMs?: number
  /** Longest answer. Default 65,536. */
  readonly maxBytes?: number
  /** After so many failures in a row it is asked only now and then. Default 5. */
  readonly maxFailures?: number
  /** Then one question in this time, until one is answered; all others are refused at once. Default 5,000. */
  readonly retryMs?: number
  /** Default: that of the platform. */
  readonly fetch?: Fetch
  /** Milliseconds, only ever forward. Default `performance.now`. */
  readonly clock?: () => number
}

const readOptions = object({
  url: readUrl,
  evaluationUrl: optional(readUrl),
  token: optional(havingMethods<SecretSource>('read')),
  tokenHeader: withDefault(string(/^[a-z0-9-]+$/, 'the name of a header in small letters'), 'authorization'),
  subjectProperties: withDefault(functionOf<(principal: AskedPrincipal) => JsonObject>(), subjectPropertiesOf),
  tiers: withDefault(listOf(string()), []),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 1000),
  maxBytes: withDefault(integer({ min: 1 }), 65_536),
  maxFailures: withDefault(integer({ min: 1 }), 5),
  retryMs: withDefault(integer({ min: 1, max: 3_600_000 }), 5000),
  fetch: withDefault(functionOf<Fetch>(), async (url, init) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), () => performance.now())
})

/**
 * A policy that asks a decision point (AuthZEN Authorization API 1.0) about every request, and remembers no answer.
 * An answer with obligations that this project cannot meet is a denial.
 * @throws FMG_ERR_POLICY_UNAVAILABLE (from `decide`, with `retry-after`) when the decision point is down, slow, or answers anything but a decision.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `decide`) when the token cannot be read.
 */
export function authzen (options: AuthzenOptions): Policy {
  const { url, evaluationUrl = defaultEvaluationUrl(url), subjectProperties, tiers, maxFailures, retryMs, clock, ...endpoint } = readOptions(options, 'authzen')
  const ask = authzenEndpoint({ ...endpoint, evaluationUrl, retryAfterMs: retryMs, breaker: breaker({ failures: maxFailures, everyMs: retryMs, clock }) })
  return {
    id: `authzen:${withoutQuery(evaluationUrl)}`,
    tiers,
    decide: async (principal, action, resource, context) =>
      decisionOf(await ask(authzenMessage(principal, subjectProperties(principal), action, resource, context)), tiers)
  }
}

function defaultEvaluationUrl (url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + authzenPaths(pathname).evaluation
}

/** It stands in every record: a key that somebody put into the query does not. */
function withoutQuery (url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}

function decisionOf ({ decision, obligations: due }: EndpointAnswer, tiers: readonly string[]): Decision {
  const obligations = readObligations(due, tiers)
  if (obligations === null) return { allowed: false, rule: null, reason: 'policy-error' }
  return { allowed: decision, rule: null, reason: decision ? 'allowed' : 'forbidden', ...obligations !== undefined && { obligations } }
}
