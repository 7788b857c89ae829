import { createHmac, createSecretKey, hash } from 'node:crypto'

/** Digests under one key: equal values are seen to be equal, and nobody without the key can guess at them. */
export interface KeyedDigest {
  readonly keyId: string
  /**
   * HMAC-SHA-256 (RFC 2104) of `<field>`, a zero byte and the value, as `hmac-sha256:<key id>:<hex>`.
   * The field keeps an input from ever having the digest of an equal output.
   */
  digest (field: string, value: string | Uint8Array): string
  /** The same for a value that comes in chunks, none of which is kept. */
  start (field: string): DigestStream
}

/** A digest under way. */
export interface DigestStream {
  update (chunk: string | Uint8Array): void
  /** What {@link KeyedDigest.digest} gives for all chunks together. To be called once, last. */
  digest (): string
}

/** Bytes of a SHA-256 block: what a key is padded to. */
const blockBytes = 64
/** Bytes of the largest value that is copied to be hashed in one call; above it the copy costs what the call spares. */
const maxCopiedBytes = 16_384

// One for all keys: hashing never yields, so that no two digests meet here.
const inner = Buffer.alloc(2 * blockBytes + maxCopiedBytes)
const outer = Buffer.alloc(blockBytes + 32)

/**
 * Digests under this key of 32 bytes, which is copied.
 * HMAC is two nested hashes; by two one-shot calls it costs half of what a `createHmac` object does.
 */
export function keyedDigest (keyId: string, key: Uint8Array): KeyedDigest {
  // No bare bytes: Node 24 takes longer to look at those than for the HMAC.
  const secret = createSecretKey(key)
  const innerPad = pad(key, 0x36)
  const outerPad = pad(key, 0x5c)
  const prefix = `hmac-sha256:${keyId}:`

  function start (field: string): DigestStream {
    const hmac = createHmac('sha256', secret).update(`${field}\0`)
    return {
      update: (chunk) => { hmac.update(chunk) },
      digest: () => prefix + hmac.digest('hex')
    }
  }

  return {
    keyId,
    start,
    digest (field, value) {
      // A UTF-16 code unit takes three bytes at most.
      const most = field.length * 3 + 1 + (typeof value === 'string' ? value.length * 3 : value.length)
      if (most > inner.length - blockBytes) {
        const stream = start(field)
        stream.update(value)
        return stream.digest()
      }
      innerPad.copy(inner)
      const end = write(value, blockBytes + inner.write(`${field}\0`, blockBytes))
      outerPad.copy(outer)
      outer.write(hash('sha256', inner.subarray(0, end), 'binary'), blockBytes, 'latin1')
      return prefix + hash('sha256', outer, 'hex')
    }
  }
}

function write (value: string | Uint8Array, at: number): number {
  if (typeof value === 'string') return at + inner.write(value, at)
  inner.set(value, at)
  return at + value.length
}

/** RFC 2104 section 2: the key, filled up with zeros to a block, each byte XORed with this one. */
function pad (key: Uint8Array, byte: number): Buffer {
  const block = Buffer.alloc(blockBytes, byte)
  for (const [index, value] of key.entries()) block[index] = value ^ byte
  return block
}
