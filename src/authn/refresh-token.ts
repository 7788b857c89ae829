import { hash } from 'node:crypto'
import { randomBase62 } from '../encoding.ts'

/** The parts of `fmg_refresh_<family><turn>`, each of 32 base62 characters, 190 bits. */
export interface RefreshTokenParts {
  /** The same in all tokens of a family: without it nobody can make himself heard by the family at all, be it to end it. */
  readonly family: string
  /** Another one in each. */
  readonly turn: string
}

// Not the form of an API key, whose last part is longer: neither is ever taken for the other.
const whole = /^fmg_refresh_([0-9A-Za-z]{32})([0-9A-Za-z]{32})$/
const partLength = 32

/** Finds refresh tokens in any text: the expression to give to secret scanners. */
export const refreshTokenPattern = /\bfmg_refresh_[0-9A-Za-z]{64}\b/

/** Draws a part of a token. */
export function drawPart (): string {
  return randomBase62(partLength)
}

/** Writes a token as its holder keeps it. */
export function formatRefreshToken ({ family, turn }: RefreshTokenParts): string {
  return `fmg_refresh_${family}${turn}`
}

/** Reads a token; `null` for any other text. */
export function parseRefreshToken (text: string): RefreshTokenParts | null {
  const [, family, turn] = whole.exec(text) ?? []
  return family === undefined || turn === undefined ? null : { family, turn }
}

/** The public id of a family: a digest, of which nobody can make a token. */
export function familyIdOf ({ family }: Pick<RefreshTokenParts, 'family'>): string {
  return hash('sha256', `family ${family}`, 'base64url')
}

/** What is kept of a token. A fast hash is right for 190 random bits. */
export function turnDigestOf ({ family, turn }: RefreshTokenParts): string {
  return hash('sha256', `turn ${family} ${turn}`, 'base64url')
}
