import { createHash } from 'node:crypto'
import { seal } from '../../src/model/cobblestone.ts'
import { sharedMemory } from '../../src/model/memory.ts'
import { openBlocks, type OpenJob, type ReadAt } from '../../src/model/open-blocks.ts'
import type { OpenThreads } from '../../src/model/open-threads.ts'
import type { LargeFile } from '../../src/model/open-together.ts'
import type { SealedFileSource } from '../../src/model/sealed-source.ts'
import type { SignedPart } from '../../src/model/signed-file.ts'
import { proveLength } from '../../src/model/unseal.ts'
import { bytesSource, collect } from './bytes-source.ts'

const sealing = { key: Buffer.alloc(32, 7), context: Buffer.from('context') }

/** Sealed files in memory, as if they were open. */
export class SealedBytes {
  readonly #files: Buffer[] = []

  /** A file with this plaintext, as `change` leaves its sealed bytes after its length was proven. */
  async add (name: string, plain: Uint8Array, parts: readonly SignedPart[], change: (sealed: Buffer) => Buffer = (sealed) => sealed): Promise<LargeFile> {
    const sealed = await collect(seal([plain], sealing))
    const fd = this.#files.length
    const source: SealedFileSource = { ...bytesSource(sealed), name: `${name}.sealed`, fd }
    const proven = await proveLength(source, sealing, sharedMemory)
    this.#files.push(change(Buffer.from(sealed)))
    return { name, parts, proven }
  }

  readonly read: ReadAt = (fd, target, offset) => {
    const part = (this.#files[fd] ?? Buffer.alloc(0)).subarray(offset, offset + target.length)
    target.set(part)
    return part.length
  }
}

/** What threads do, one after the other on this one. */
export function threadsHere (read: ReadAt, count = 1, before: (job: OpenJob) => void = () => undefined): OpenThreads {
  return {
    run: async (job, progressed) => {
      before(job)
      return await Promise.resolve(Array.from({ length: count }, () => openBlocks(job, read, progressed)))
    },
    close: async () => { await Promise.resolve() }
  }
}

/** Parts of so many bytes with their digests; one that is the whole file without a size. */
export function partsOf (plain: Uint8Array, shardBytes?: number, hash = 'sha256'): readonly SignedPart[] {
  const digest = (bytes: Uint8Array): string => createHash(hash).update(bytes).digest('hex')
  if (shardBytes === undefined) return [{ start: 0, digest: digest(plain) }]
  return Array.from({ length: Math.ceil(plain.length / shardBytes) }, (_, index) => {
    const start = index * shardBytes
    const end = Math.min(plain.length, start + shardBytes)
    return { start, end, digest: digest(plain.subarray(start, end)) }
  })
}
