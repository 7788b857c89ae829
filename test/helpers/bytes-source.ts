import type { SealedSource } from '../../src/model/sealed-source.ts'

/** Sealed bytes in memory, that count how often they were read. */
export interface BytesSource extends SealedSource {
  readonly reads: readonly number[]
}

/** At most `step` bytes a read, as a pipe or a network file system may give. */
export function bytesSource (bytes: Uint8Array, step = Infinity): BytesSource {
  const reads: number[] = []
  return {
    name: 'sealed',
    bytes: bytes.length,
    reads,
    read: async (target, offset) => {
      const part = bytes.subarray(offset, offset + Math.min(target.length, step))
      target.set(part)
      reads.push(part.length)
      return await Promise.resolve(part.length)
    }
  }
}

/** Everything a stream gives, in one piece. */
export async function collect (stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}
