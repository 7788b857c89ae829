/** What is kept of a refresh family: nothing of it is of use to a thief. Times are milliseconds since the epoch. */
export interface RefreshFamily {
  readonly familyId: string
  /** What the family stands for, as text. */
  readonly content: string
  /** When it ends, however often it is refreshed. */
  readonly expiresAt: number
}

/** One use of a refresh token, and what is to follow it. */
export interface Turn {
  readonly familyId: string
  /** Digest of the token that is used. */
  readonly used: string
  /** Digest of the token that follows. */
  readonly next: string
  /** In place of the present content; left out, that stays. */
  readonly content?: string
  readonly now: number
  /** How long after a token was used first it may be used again, where an answer was lost or two asked at once. */
  readonly graceMs: number
}

/** Where refresh families live. */
export interface RefreshStore {
  /** Keeps a new family, whose only token is that of this digest. @throws FMG_ERR_KEY_UNAVAILABLE */
  begin (family: RefreshFamily, digest: string, now: number): Promise<void>
  /** A family that has not ended; `null` where there is none. @throws FMG_ERR_KEY_UNAVAILABLE */
  find (familyId: string, now: number): Promise<RefreshFamily | null>
  /**
   * All or nothing, whoever else turns at that moment: a token that may be used gives way to the next (`turned`); one that was used before, and is
   * out of grace, ends the family (`reused`); `gone` where there is none.
   * @throws FMG_ERR_KEY_UNAVAILABLE
   */
  turn (turn: Turn): Promise<'turned' | 'reused' | 'gone'>
  /** Ends a family, if there is one. @throws FMG_ERR_KEY_UNAVAILABLE */
  end (familyId: string): Promise<void>
}

/**
 * How many tokens may follow one, within its grace. Of those the first that is used leaves no other: two lines of descent never live on.
 */
export const maxFollowers = 4
