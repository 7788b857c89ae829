import { drawSigningKey, type SigningAlgorithm, type SigningKey } from './signing-key.ts'

/** When keys follow each other. */
export interface RotationTerms {
  readonly algorithm: SigningAlgorithm
  /** How long a key signs. */
  readonly rotationMs: number
  /** How long a key is published before it signs, and after it signed last. */
  readonly overlapMs: number
}

/** At least one key, the oldest first. */
export type KeyRing = readonly [SigningKey, ...SigningKey[]]

/**
 * The keys as they should be now: without those that signed last so long ago that nothing of theirs counts any more, and with a successor for the
 * newest where it is time.
 * @param keys the oldest first; none at first.
 * @param now milliseconds since the epoch.
 */
export function rotateKeys (keys: readonly SigningKey[], now: number, { algorithm, rotationMs, overlapMs }: RotationTerms): KeyRing {
  // Of the newest NaN, which is not at most anything: it has no successor yet.
  const [oldest, ...others] = keys.filter((_, index) => !(Number(keys[index + 1]?.signsFrom) + overlapMs <= now))
  // Nobody's copy of the keys lacks the first one.
  if (oldest === undefined) return [drawSigningKey(algorithm, now)]
  const newest = others.at(-1) ?? oldest
  const dueAt = newest.algorithm === algorithm ? newest.signsFrom + rotationMs : now
  const successors = now < dueAt - overlapMs ? [] : [drawSigningKey(algorithm, Math.max(dueAt, now + overlapMs))]
  return [oldest, ...others, ...successors]
}

/** The key that signs now. */
export function signingKeyAt (keys: KeyRing, now: number): SigningKey {
  // Where the clock of who made the first key is ahead of this one, that key signs all the same.
  return keys.findLast(({ signsFrom }) => signsFrom <= now) ?? keys[0]
}
