import { randomBase62 } from '../encoding.ts'
import type { JsonObject } from '../strict-json.ts'
import { cookieName, cookiePairs } from './browser-cookie.ts'
import type { Sealer } from './sealed-text.ts'

/** How a request reached this server. */
export interface Arrival {
  /** Host and port, as the browser addressed it. */
  readonly host: string
  /** Whether the browser came by https, or by http to its own machine. */
  readonly isSecure: boolean
}

/** A login that was begun, as its `state` tells it (RFC 6749 section 10.12). It says nothing to anyone but this server. */
export interface LoginStart extends Arrival {
  readonly id: string
  readonly provider: string
  /** Milliseconds since the epoch. */
  readonly startedAt: number
}

/** What the browser that began a login keeps of it in a cookie, and nobody else has. */
export interface PendingLogin {
  readonly id: string
  /** Of PKCE (RFC 7636). */
  readonly verifier: string
  readonly nonce: string
  readonly returnTo: string
}

/** Logins in several tabs of a browser, each with a state and a cookie of its own. */
export interface LoginFlows {
  readonly lifetimeSeconds: number
  readonly newId: () => string
  sealState (start: LoginStart): Promise<string>
  openState (state: unknown): Promise<LoginStart | null>
  sealPending (pending: PendingLogin): Promise<string>
  /** `null` when this browser did not begin this login; `used` when it has been through here before. */
  openPending (id: string, rawHeaders: readonly string[]): Promise<PendingLogin | 'used' | null>
  readonly cookieName: (id: string) => string
  /** Names of cookies of earlier logins that must make room. */
  surplus (rawHeaders: readonly string[]): readonly string[]
}

/** Value of the cookie of a login that is over: whoever comes again by the back button is told so. */
export const usedMark = 'used'

// Each is about 400 bytes of a header that may hold 16,384.
const maxOpen = 5

/**
 * @param isSecure whether cookies are bound to https.
 * @param lifetimeSeconds of state and cookie alike: were the cookie's shorter, a slow login would look like a forged one.
 */
export function loginFlows (sealer: Sealer, isSecure: boolean, lifetimeSeconds: number): LoginFlows {
  const prefix = cookieName('model-guard-login-', isSecure)

  return {
    lifetimeSeconds,
    newId: () => randomBase62(12),
    sealState: async (start) => await sealer.seal('login state', { ...start }),
    openState: async (state) => typeof state === 'string' ? readStart(await sealer.open('login state', state)) : null,
    sealPending: async (pending) => await sealer.seal('pending login', { ...pending }),
    async openPending (id, rawHeaders) {
      const [value, ...others] = valuesOf(`${prefix}${id}`, rawHeaders)
      if (value === undefined || others.length > 0) return null
      if (value === usedMark) return usedMark
      const pending = readPending(await sealer.open('pending login', value))
      return pending?.id === id ? pending : null
    },
    cookieName: (id) => `${prefix}${id}`,
    surplus: (rawHeaders) => cookiePairs(rawHeaders).map(([name]) => name).filter((name) => name.startsWith(prefix)).slice(0, -(maxOpen - 1))
  }
}

function valuesOf (wanted: string, rawHeaders: readonly string[]): readonly string[] {
  return cookiePairs(rawHeaders).filter(([name]) => name === wanted).map(([, value]) => value)
}

function readStart (members: JsonObject | null): LoginStart | null {
  if (members === null) return null
  const { id, provider, startedAt, host, isSecure } = members
  return { id: String(id), provider: String(provider), startedAt: Number(startedAt), host: String(host), isSecure: isSecure === true }
}

function readPending (members: JsonObject | null): PendingLogin | null {
  if (members === null) return null
  const { id, verifier, nonce, returnTo } = members
  return { id: String(id), verifier: String(verifier), nonce: String(nonce), returnTo: String(returnTo) }
}
