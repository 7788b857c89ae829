import { createHmac, createSecretKey, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { integer, object, optional, withDefault } from '../options.ts'
import { readPepperBytes } from '../pepper.ts'

export interface DpopNonceOptions {
  /** At least 32 bytes that all nodes share, so that each knows the nonces of the others. Default: drawn at the start. */
  readonly secret?: Uint8Array
  /** How long a nonce counts at least; at most twice as long. Default 300. */
  readonly lifetimeSeconds?: number
}

/** Nonces that are not kept anywhere (RFC 9449 section 9): one for each stretch of time, which nobody foresees without the secret. */
export interface DpopNonces {
  current (now: number): string
  /** `ending`: it counts, and a new one is to be given. @param now milliseconds since the epoch. */
  judge (nonce: unknown, now: number): 'good' | 'ending' | 'unknown'
}

/** Option `nonce`. */
export const readNonceOptions = object({
  secret: optional(readPepperBytes),
  lifetimeSeconds: withDefault(integer({ min: 1, max: 86_400 }), 300)
})

/** Makes nonces by HMAC-SHA-256. */
export function dpopNonces ({ secret = randomBytes(32), lifetimeSeconds }: ReturnType<typeof readNonceOptions>): DpopNonces {
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', 'fastify-model-guard/dpop-nonce/v1', 32)))
  const stretchAt = (now: number): number => Math.floor(now / (lifetimeSeconds * 1000))
  const digestOf = (stretch: number): Buffer => createHmac('sha256', key).update(String(stretch)).digest()

  return {
    current: (now) => digestOf(stretchAt(now)).toString('base64url'),
    judge (nonce, now) {
      const given = typeof nonce === 'string' ? Buffer.from(nonce, 'base64url') : Buffer.alloc(0)
      const isOf = (stretch: number): boolean => given.length === 32 && timingSafeEqual(given, digestOf(stretch))
      const stretch = stretchAt(now)
      // The next one is that of a node whose clock is a little ahead.
      if (isOf(stretch) || isOf(stretch + 1)) return 'good'
      return isOf(stretch - 1) ? 'ending' : 'unknown'
    }
  }
}
