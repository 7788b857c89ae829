import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'

// RFC 3394 section 2.2.3.1: the default initial value is what tells a right key from a wrong one.
const initialValue = Buffer.alloc(8, 0xa6)

/** AES Key Wrap under a 256-bit key (RFC 3394, RFC 7518 section 4.4). The key to wrap is 16 bytes or more, in whole eights. */
export function wrapUnderAes (wrappingKey: KeyObject, key: Uint8Array): Buffer {
  const cipher = createCipheriv('id-aes256-wrap', wrappingKey, initialValue)
  return Buffer.concat([cipher.update(key), cipher.final()])
}

/**
 * Undoes `wrapUnderAes`.
 * @throws when the wrapping key is another, or when a bit was changed.
 */
export function unwrapUnderAes (wrappingKey: KeyObject, wrapped: Uint8Array): Buffer {
  // RFC 3394 section 2.2.2: a whole block and the check. Of nothing, OpenSSL gives nothing, and no error.
  if (wrapped.length < 24) throw new RangeError('a wrapped key of fewer than 24 bytes')
  const decipher = createDecipheriv('id-aes256-wrap', wrappingKey, initialValue)
  const parts = [decipher.update(wrapped), decipher.final()]
  try {
    return Buffer.concat(parts)
  } finally {
    for (const part of parts) part.fill(0)
  }
}
