import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto'

/**
 * HMAC-SHA-256 of a whole key under the pepper, hex: of its every word, so that a key has one spelling.
 * A fast hash is right for 256 random bits; the pepper, kept apart, makes a stolen store useless to match leaked keys against.
 */
export function keyDigest (pepper: Uint8Array | KeyObject, key: string): string {
  return createHmac('sha256', pepper).update(key).digest('hex')
}

// Digests are compared, not secrets: equal lengths, so that timing says nothing about the key.
/** Whether two digests of `keyDigest` are the same, in a time that does not depend on where they differ. */
export function digestsEqual (a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a, 'hex'), Buffer.from(b, 'hex'))
}
