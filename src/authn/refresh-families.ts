import { functionOf, havingMethods, integer, object, withDefault } from '../options.ts'
import { badCredential } from './bad-credential.ts'
import type { RefreshFamily, RefreshStore } from './refresh-store.ts'
import { drawPart, familyIdOf, formatRefreshToken, parseRefreshToken, turnDigestOf, type RefreshTokenParts } from './refresh-token.ts'

export interface RefreshFamiliesOptions {
  readonly store: RefreshStore
  /** How long a family lives, however often it is refreshed. Default 28,800 (8 hours). */
  readonly lifetimeSeconds?: number
  /**
   * How long a token that was used may be used again, for answers that were lost and for tabs that refresh at once. Whoever does, of its followers
   * only the line of the first that is used lives on. Default 0: the second use ends the family, at most 60.
   */
  readonly graceSeconds?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

/** A refresh token as it is handed out. */
export interface NewRefreshToken {
  /** Secret. */
  readonly token: string
  /** Public id of its family: `sid` of the tokens that it is exchanged for. */
  readonly familyId: string
  /** Milliseconds since the epoch, when the family ends. */
  readonly expiresAt: number
}

/**
 * Refresh tokens that rotate: each is used once, for the next of its family, and the second use of one ends the family, for then two have it
 * (RFC 9700 section 4.14.2).
 */
export interface RefreshFamilies {
  /** Begins a family. @param content what it stands for. @param until milliseconds since the epoch: it ends then at the latest. */
  begin (content: string, until?: number): Promise<NewRefreshToken>
  /**
   * The family that a token is of, whether or not that token was used before. `turn` decides; look at all else first, so that what is refused for
   * another reason uses up no token.
   * @throws FMG_ERR_CREDENTIAL_INVALID with reason `refresh-token-malformed` or `refresh-token-unknown`.
   */
  find (token: string): Promise<RefreshFamily>
  /**
   * Uses a token. @param content what the family stands for from now on; left out, what it did.
   * @throws FMG_ERR_CREDENTIAL_INVALID with reason `refresh-token-reused` (the family has ended), or as `find`.
   */
  turn (token: string, content?: string): Promise<NewRefreshToken>
  /** Ends a family. Tokens of its `sid` that were issued already are for a deny-list. */
  end (familyId: string): Promise<void>
}

const readOptions = object({
  store: havingMethods<RefreshStore>('begin', 'find', 'turn', 'end'),
  lifetimeSeconds: withDefault(integer({ min: 1 }), 28_800),
  graceSeconds: withDefault(integer({ min: 0, max: 60 }), 0),
  clock: withDefault(functionOf<() => number>(), Date.now)
})

/** Refresh families of this store. */
export function refreshFamilies (options: RefreshFamiliesOptions): RefreshFamilies {
  const { store, lifetimeSeconds, graceSeconds, clock } = readOptions(options, 'refreshFamilies')

  async function find (parts: RefreshTokenParts): Promise<RefreshFamily> {
    const family = await store.find(familyIdOf(parts), clock())
    if (family === null) throw badCredential('refresh-token-unknown')
    return family
  }

  return {
    async begin (content, until = Infinity) {
      const parts = { family: drawPart(), turn: drawPart() }
      const now = clock()
      const family = { familyId: familyIdOf(parts), content, expiresAt: Math.min(now + lifetimeSeconds * 1000, until) }
      await store.begin(family, turnDigestOf(parts), now)
      return { token: formatRefreshToken(parts), familyId: family.familyId, expiresAt: family.expiresAt }
    },
    find: async (token) => await find(read(token)),
    async turn (token, content) {
      const parts = read(token)
      const { familyId, expiresAt } = await find(parts)
      const next = { family: parts.family, turn: drawPart() }
      const outcome = await store.turn({ familyId, used: turnDigestOf(parts), next: turnDigestOf(next), content, now: clock(), graceMs: graceSeconds * 1000 })
      if (outcome !== 'turned') throw badCredential(outcome === 'reused' ? 'refresh-token-reused' : 'refresh-token-unknown')
      return { token: formatRefreshToken(next), familyId, expiresAt }
    },
    end: async (familyId) => { await store.end(familyId) }
  }
}

function read (token: string): RefreshTokenParts {
  const parts = parseRefreshToken(token)
  if (parts === null) throw badCredential('refresh-token-malformed')
  return parts
}
