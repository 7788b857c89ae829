import { createHmac, createSecretKey, hkdfSync, timingSafeEqual } from 'node:crypto'
import { canonicalJson } from '../encoding.ts'
import { object, string } from '../options.ts'

/** Marks what a store writes, so that it knows its own work again. */
export interface RecordSeal {
  /** Canonical JSON of the content and its MAC. */
  seal (kind: SealedKind, content: object): string
  /** The content; `null` when this seal did not mark it as that kind. */
  open (kind: SealedKind, text: string): unknown
}

export type SealedKind = 'record' | 'head'

const readSealed = object({ content: (value: unknown) => value, mac: string(/^[0-9a-f]{64}$/) })

/**
 * HMAC-SHA-256 under a key that HKDF-SHA-256 (RFC 5869) derives from the pepper, over RFC 8785 JSON.
 * @param store what is sealed for one is not known in another.
 * @param epoch in every MAC: nothing that was sealed in one epoch is known in another.
 */
export function recordSeal (store: string, pepper: Uint8Array, epoch: number): RecordSeal {
  const key = createSecretKey(Buffer.from(hkdfSync('sha256', pepper, '', `fastify-model-guard/${store}/v1`, 32)))
  const macOf = (kind: SealedKind, content: unknown): Buffer => createHmac('sha256', key).update(canonicalJson({ kind, epoch, content })).digest()

  return {
    seal: (kind, content) => canonicalJson({ content, mac: macOf(kind, content).toString('hex') }),
    open (kind, text) {
      try {
        const { content, mac } = readSealed(JSON.parse(text), kind)
        return timingSafeEqual(macOf(kind, content), Buffer.from(mac, 'hex')) ? content : null
      } catch {
        // Not JSON, or another shape: no work of this seal.
        return null
      }
    }
  }
}
