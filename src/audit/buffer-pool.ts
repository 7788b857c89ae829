/**
 * Buffers that are used again. Memory outside of the heap that lives for a second and is then dropped would have the collector
 * mark the whole heap, over and over.
 */
export interface BufferPool {
  /** A buffer of at least so many bytes, holding anything. */
  take (bytes: number): Buffer
  /** Gives back the memory of a buffer that nobody looks at any more; `bytes` may be a part of it. */
  give (bytes: Uint8Array): void
}

/** @param maxSpareBytes how much is kept for later. */
export function bufferPool (maxSpareBytes: number): BufferPool {
  const spare: Buffer[] = []
  let spareBytes = 0
  return {
    take (bytes) {
      const last = spare.pop()
      spareBytes -= last?.length ?? 0
      // A buffer that is too small is let go: in time all that are kept are large enough.
      return last !== undefined && last.length >= bytes ? last : Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(bytes)))
    },
    give ({ buffer }) {
      if (spareBytes + buffer.byteLength > maxSpareBytes) return
      spareBytes += buffer.byteLength
      spare.push(Buffer.from(buffer))
    }
  }
}
