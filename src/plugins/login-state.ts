import type { FastifyRequest } from 'fastify'
import type { Arrival, LoginFlows, LoginStart } from '../authn/login-flow.ts'
import { judgeState, type OpenLogin, type StateProblem } from '../authn/judge-state.ts'
import { guardError, type GuardError } from '../errors.ts'

/** How a request reached this server. @param origin of this server, as browsers address it. */
export function arrivalOf ({ host, protocol, headers }: FastifyRequest, origin: string): Arrival {
  // Browsers send Fetch Metadata over https only, and to their own machine: whatever a proxy in between says or does not say.
  return { host, isSecure: !origin.startsWith('https:') || protocol === 'https' || headers['sec-fetch-site'] !== undefined }
}

export interface StateCheck {
  readonly flows: LoginFlows
  readonly provider: string
  readonly state: unknown
  readonly request: FastifyRequest
  readonly origin: string
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * The login that a provider's answer belongs to.
 * @throws FMG_ERR_REQUEST_INVALID with a {@link StateProblem} as its reason, and in words what the request showed.
 */
export async function checkState ({ flows, provider, state, request, origin, now }: StateCheck): Promise<OpenLogin> {
  const { rawHeaders } = request.raw
  const start = await flows.openState(state)
  const pending = start === null ? null : await flows.openPending(start.id, rawHeaders)
  const arrival = arrivalOf(request, origin)
  const judged = judgeState({ start, pending, provider, arrival, now, lifetimeSeconds: flows.lifetimeSeconds })
  if (typeof judged === 'object') return judged
  throw invalidState(judged, start, arrival, { now, lifetimeSeconds: flows.lifetimeSeconds, sendsCookies: request.headers.cookie !== undefined })
}

/** A login that another request has finished already. */
export function usedState (): GuardError {
  return guardError('FMG_ERR_REQUEST_INVALID', { reason: 'login-used', detail: 'this login was finished before' })
}

interface Circumstances {
  readonly now: number
  readonly lifetimeSeconds: number
  readonly sendsCookies: boolean
}

function invalidState (problem: StateProblem, start: LoginStart | null, arrival: Arrival, { now, lifetimeSeconds, sendsCookies }: Circumstances): GuardError {
  const minutes = Math.round((now - (start?.startedAt ?? now)) / 60_000)
  const details: Readonly<Record<StateProblem, string>> = {
    'login-expired': `the login began ${minutes} minutes ago, and counts for ${lifetimeSeconds / 60}`,
    'login-other-host': `the login began at ${start?.host ?? ''} and came back to ${arrival.host}, and browsers keep cookies for each by itself`,
    'login-insecure': 'the login went over http, over which browsers keep no cookie that is bound to https',
    'login-cookie-missing': sendsCookies ? 'the browser sent cookies, but not that of this login: it began in another browser, or the cookie was deleted' : 'the browser sent no cookie at all: cookies are blocked or deleted, or the login began in another browser',
    'login-used': 'this login was finished before',
    'login-state-unknown': 'the state is not of this server'
  }
  return guardError('FMG_ERR_REQUEST_INVALID', { reason: problem, detail: details[problem] })
}
