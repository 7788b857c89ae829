import { createHmac, createSecretKey, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { integer, object, optional, withDefault } from '../../options.ts'
import { readPepperBytes } from '../../pepper.ts'

export interface AttestationNonceOptions {
  /** At least 32 bytes that all nodes share, so that each knows the nonces of the others. Default: drawn at the start. */
  readonly secret?: Uint8Array
  /** How long a nonce counts. Default 300. */
  readonly lifetimeSeconds?: number
}

/** Nonces that are told from others by what stands in them; which were used, somebody else remembers. */
export interface AttestationNonces {
  readonly lifetimeSeconds: number
  /** 64 hexadecimal digits, which every kind of evidence has room for. @param now milliseconds since the epoch. */
  issue (principalId: string, now: number): string
  /** Milliseconds for which this one still counts; 0 for one that is not this server's, another principal's, or over. */
  remaining (nonce: string, principalId: string, now: number): number
}

/** Option `nonce`. */
export const readNonceOptions = object({
  secret: optional(readPepperBytes),
  lifetimeSeconds: withDefault(integer({ min: 10, max: 86_400 }), 300)
})

/** 6 bytes of when it ends, 10 random ones, and 16 of an HMAC over both and who may use it. */
export function attestationNonces ({ secret = randomBytes(32), lifetimeSeconds }: ReturnType<typeof readNonceOptions>): AttestationNonces {
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', 'fastify-model-guard/attestation-nonce/v1', 32)))
  const macOf = (head: Buffer, principalId: string): Buffer => createHmac('sha256', key).update(head).update(principalId).digest().subarray(0, 16)
  return {
    lifetimeSeconds,
    issue (principalId, now) {
      const head = randomBytes(16)
      head.writeUIntBE(now + lifetimeSeconds * 1000, 0, 6)
      return Buffer.concat([head, macOf(head, principalId)]).toString('hex')
    },
    remaining (nonce, principalId, now) {
      const bytes = /^[0-9a-f]{64}$/.test(nonce) ? Buffer.from(nonce, 'hex') : Buffer.alloc(32)
      const head = bytes.subarray(0, 16)
      return timingSafeEqual(macOf(head, principalId), bytes.subarray(16)) ? Math.max(0, head.readUIntBE(0, 6) - now) : 0
    }
  }
}
