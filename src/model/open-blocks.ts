import { createHash, createSecretKey } from 'node:crypto'
import { blockBytes, blockChunks, headerBytes, openChunks, sealedChunkBytes, type ChunkKeys } from './sealed-chunk.ts'

// Loaded by threads that do nothing else: what they do not need is not imported here.

/** Keys of a file's chunks, where several threads see them. */
interface SharedKeys extends ChunkKeys {
  readonly key: Uint8Array
}

/** A file of a job. Its header and last chunk are verified already. */
export interface JobFile {
  readonly name: string
  /** Open as long as the job runs. */
  readonly fd: number
  readonly keys: SharedKeys
  /** Chunks before the last. */
  readonly fullChunks: number
  /** Where the plaintext goes; its last chunk is there. */
  readonly plain: Uint8Array
  /** Number of its first block among those of the job. */
  readonly firstBlock: number
}

/** A run of a file's plaintext that is hashed by itself. */
export interface HashedRange {
  readonly file: JobFile
  readonly start: number
  /** The first byte that is not in it. */
  readonly end: number
}

/** Files to be opened and hashed by several threads at once. All bytes and numbers in it lie in shared memory. */
export interface OpenJob {
  readonly files: readonly JobFile[]
  readonly ranges: readonly HashedRange[]
  /** What Node calls the hash. */
  readonly hash: 'sha256' | 'blake2b512'
  /** The state of every block. */
  readonly blocks: Int32Array
  /** How many ranges were taken, and whether to stop. */
  readonly control: Int32Array
}

/** States of a block. */
const waiting = 0
const taken = 1
export const opened = 2
const faulty = 3

// Places in the control.
const rangesTaken = 0
const stopped = 1
export const controlSlots = 2

/** Why a file does not open. */
export interface OpenFault {
  /** Number of the block in the job. */
  readonly block: number
  /** The file's name. */
  readonly name: string
  readonly kind: 'changed' | 'shorter' | 'unreadable'
  /** The chunk that is not what was sealed there, or the first of those that could not be read. */
  readonly chunk: number
  readonly message?: string
}

/** What one thread did of a job. */
export interface OpenedShare {
  readonly digests: readonly (readonly [range: number, digest: string])[]
  readonly fault: OpenFault | undefined
}

/** Fills the target from this place of an open file on; gives how many bytes there were. */
export type ReadAt = (fd: number, target: Uint8Array, offset: number) => number

/** How many blocks a file has: those of its full chunks, and one for what may follow them. */
export function countBlocks (fullChunks: number): number {
  return Math.floor(fullChunks / blockChunks) + 1
}

/**
 * One thread's part in a job, until nothing is left that it could do. Each range is hashed by one thread in the order of its bytes, which opens
 * the blocks it comes to; while another thread is at the next one, and when no range is left, it opens any block that nobody has taken.
 * @param progressed is called after every block.
 */
export function openBlocks (job: OpenJob, read: ReadAt, progressed: () => void): OpenedShare {
  return new BlockOpener(job, read, progressed).run()
}

/** A block of a job. */
interface Place {
  readonly file: JobFile
  /** Number of its first chunk in the file. */
  readonly first: number
  /** Its number in the job. */
  readonly block: number
}

function placeOf (file: JobFile, index: number): Place {
  return { file, first: index * blockChunks, block: file.firstBlock + index }
}

class BlockOpener {
  readonly #job: OpenJob
  readonly #read: ReadAt
  readonly #progressed: () => void
  /** Every block of the job once; those that were passed are taken. */
  readonly #places: Iterator<Place>
  readonly #sealed = Buffer.alloc(blockChunks * sealedChunkBytes)
  #fault: OpenFault | undefined

  constructor (job: OpenJob, read: ReadAt, progressed: () => void) {
    this.#job = job
    this.#read = read
    this.#progressed = progressed
    this.#places = job.files.flatMap((file) => Array.from({ length: countBlocks(file.fullChunks) }, (_, index) => placeOf(file, index))).values()
  }

  run (): OpenedShare {
    const { ranges, control } = this.#job
    const digests: [number, string][] = []
    for (;;) {
      const index = Atomics.add(control, rangesTaken, 1)
      const range = ranges[index]
      if (range === undefined) break
      digests.push([index, this.#hash(range)])
    }
    while (!this.#isStopped && this.#openAny());
    return { digests, fault: this.#fault }
  }

  get #isStopped (): boolean {
    return Atomics.load(this.#job.control, stopped) === 1
  }

  #hash ({ file, start, end }: HashedRange): string {
    const digest = createHash(this.#job.hash)
    for (let offset = start; offset < end && !this.#isStopped;) {
      const index = Math.floor(offset / blockBytes)
      this.#demand(placeOf(file, index))
      const next = Math.min(end, (index + 1) * blockBytes)
      digest.update(file.plain.subarray(offset, next))
      offset = next
    }
    return digest.digest('hex')
  }

  /** Opens a block, or sees another thread open it. */
  #demand (place: Place): void {
    const { blocks } = this.#job
    if (this.#take(place)) this.#open(place)
    while (!this.#isStopped && Atomics.load(blocks, place.block) === taken) {
      if (!this.#openAny()) Atomics.wait(blocks, place.block, taken)
    }
  }

  /** Opens a block that nobody has taken; `false` when there is none. */
  #openAny (): boolean {
    for (let next = this.#places.next(); next.done !== true; next = this.#places.next()) {
      if (!this.#take(next.value)) continue
      this.#open(next.value)
      return true
    }
    return false
  }

  #take ({ block }: Place): boolean {
    return Atomics.compareExchange(this.#job.blocks, block, waiting, taken) === waiting
  }

  #open (place: Place): void {
    const { blocks, control } = this.#job
    this.#fault = this.#faultOf(place)
    if (this.#fault !== undefined) Atomics.store(control, stopped, 1)
    // The state changes in any case: who waits for this block must not wait for ever.
    Atomics.store(blocks, place.block, this.#fault === undefined ? opened : faulty)
    Atomics.notify(blocks, place.block)
    this.#progressed()
  }

  #faultOf ({ file, first, block }: Place): OpenFault | undefined {
    const { name, keys } = file
    const sealed = this.#sealed.subarray(0, Math.min(blockChunks, file.fullChunks - first) * sealedChunkBytes)
    try {
      if (!this.#fill(sealed, file.fd, headerBytes + first * sealedChunkBytes)) return { block, name, kind: 'shorter', chunk: first }
    } catch (error) {
      return { block, name, kind: 'unreadable', chunk: first, message: String(error) }
    }
    const changed = openChunks({ baseNonce: keys.baseNonce, key: createSecretKey(keys.key) }, sealed, first, file.plain)
    return changed === undefined ? undefined : { block, name, kind: 'changed', chunk: changed }
  }

  #fill (target: Uint8Array, fd: number, offset: number): boolean {
    for (let filled = 0; filled < target.length;) {
      const count = this.#read(fd, target.subarray(filled), offset + filled)
      if (count === 0) return false
      filled += count
    }
    return true
  }
}
