import type { FastifyInstance } from 'fastify'
import { browserSessions, type BrowserSessions } from '../authn/browser-sessions.ts'
import { refreshFamilies } from '../authn/refresh-families.ts'
import { optionInvalid } from '../options.ts'
import { login } from '../plugins/login.ts'
import type { ServerConfig } from './config.ts'
import type { ServerTokens } from './tokens.ts'

// Tabs that renew at once may ask different nodes.
const graceSeconds = 10

/**
 * Sessions of browsers, whose cookies are tokens of this server; `null` where no login is configured.
 * @param pepper the same on all nodes; what is sealed with it is kept apart from its other uses.
 * @throws FMG_ERR_OPTION_INVALID where it is not known by which URL clients reach this server.
 */
export function openSessions ({ login: config }: ServerConfig, tokens: ServerTokens | null, pepper: Uint8Array): BrowserSessions | null {
  if (config === undefined) return null
  if (tokens === null) throw optionInvalid('config.tokens.issuer', 'given for a login', undefined)
  const { issuer, refreshStore } = tokens
  return browserSessions({
    origin: config.origin ?? new URL(issuer.issuer).origin,
    tokens: issuer,
    families: refreshFamilies({ store: refreshStore, lifetimeSeconds: config.sessionSeconds, graceSeconds }),
    secret: { read: async () => Uint8Array.from(pepper) }
  })
}

/** Lets people log in: after the guard, which takes their cookies. */
export async function offerLogin (app: FastifyInstance, { login: config }: ServerConfig, tokens: ServerTokens | null, sessions: BrowserSessions | null): Promise<void> {
  if (config === undefined || tokens === null || sessions === null) return
  await app.register(login, { sessions, providers: config.providers, replayStore: tokens.dpop.replayStore })
}
