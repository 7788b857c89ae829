import type { Arrival, LoginStart, PendingLogin } from './login-flow.ts'

/**
 * Why a provider's answer does not belong to a login of this browser. The first four are the usual ones: in each the browser did not send the cookie that
 * it was given when the login began.
 */
export type StateProblem =
  /** The login took longer than its state counts. */
  | 'login-expired'
  /** It began under another host name than the provider came back to: `localhost` and `127.0.0.1` are two. */
  | 'login-other-host'
  /** It began, or came back, by plain http, over which browsers keep no `__Host-` cookie. */
  | 'login-insecure'
  /** Nothing of that: cookies are blocked or were deleted, or it began in another browser. */
  | 'login-cookie-missing'
  /** This browser has been here with this answer before. */
  | 'login-used'
  /** No state of this server: made up, cut, or of another server. */
  | 'login-state-unknown'

export interface StateEvidence {
  /** What the state says, that came back by way of the provider. */
  readonly start: LoginStart | null
  /** What the browser kept itself. */
  readonly pending: PendingLogin | 'used' | null
  readonly provider: string
  readonly arrival: Arrival
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly lifetimeSeconds: number
}

/** A login that was begun, and came back to the browser that began it. */
export type OpenLogin = LoginStart & PendingLogin

/** The login that an answer belongs to; or why there is none, told by what the request itself shows. */
export function judgeState ({ start, pending, provider, arrival, now, lifetimeSeconds }: StateEvidence): OpenLogin | StateProblem {
  // The answer of one provider is not taken for that of another (RFC 9700 section 4.4).
  if (start?.provider !== provider) return 'login-state-unknown'
  if (pending === 'used') return 'login-used'
  // Written so that what is no number has expired.
  if (!(now < start.startedAt + lifetimeSeconds * 1000)) return 'login-expired'
  if (pending !== null) return { ...start, ...pending }
  if (!start.isSecure || !arrival.isSecure) return 'login-insecure'
  return start.host === arrival.host ? 'login-cookie-missing' : 'login-other-host'
}
