import { guardError, type GuardError } from '../errors.ts'
import { controlSlots, countBlocks, opened, type HashedRange, type JobFile, type OpenedShare, type OpenFault, type OpenJob } from './open-blocks.ts'
import { sharedMemory } from './memory.ts'
import type { OpenThreads } from './open-threads.ts'
import type { OnProgress } from './progress.ts'
import { blockBytes } from './sealed-chunk.ts'
import { becameShorter, chunkChanged, type SealedFileSource } from './sealed-source.ts'
import { requireParts, type SignedFile } from './signed-file.ts'
import type { ProvenFile } from './unseal.ts'

/** A signed file whose sealed length is proven. */
export interface LargeFile extends SignedFile {
  readonly proven: ProvenFile<SealedFileSource>
}

/**
 * Opens and hashes files in all threads at once, into the memory they have.
 * @param onProgress is told now and then how far each file is.
 * @throws FMG_ERR_MODEL_TAMPERED naming a chunk that was changed or is not there, or a file that is not the one that was signed for;
 * FMG_ERR_BUNDLE_INVALID when a file cannot be read; FMG_ERR_MODEL_FAILED when a thread ended. No thread touches the memory any more then, and
 * what is in it is to be wiped.
 */
export async function openTogether (threads: OpenThreads, files: readonly LargeFile[], hash: OpenJob['hash'], onProgress: OnProgress): Promise<void> {
  const secrets = sharedMemory(files.length * secretBytes)
  try {
    const placed = placeFiles(files, secrets)
    const job = jobOf(placed, hash)
    const tell = tellOf(job, placed, onProgress)
    const shares = await threads.run(job, tell)
    requireOpened(job, shares)
    const digests = new Map(shares.flatMap((share) => share.digests.map(([range, digest]) => [job.ranges[range], digest])))
    for (const file of placed) requireParts(file, file.parts.map(({ start, end }, index) => ({ start, end, digest: digests.get(file.ranges[index]) })))
    tell()
  } finally {
    secrets.fill(0)
  }
}

// Key and base nonce.
const secretBytes = 44

interface PlacedFile extends SignedFile {
  readonly file: JobFile
  /** One a part. */
  readonly ranges: readonly HashedRange[]
}

function placeFiles (files: readonly LargeFile[], secrets: Uint8Array): readonly PlacedFile[] {
  let firstBlock = 0
  return files.map(({ name, parts, proven: { source, keys, fullChunks, plain } }, index) => {
    const secret = secrets.subarray(index * secretBytes, (index + 1) * secretBytes)
    secret.set(keys.secret.subarray(0, secretBytes))
    const file: JobFile = { name: source.name, fd: source.fd, keys: { key: secret.subarray(0, 32), baseNonce: secret.subarray(32) }, fullChunks, plain, firstBlock }
    firstBlock += countBlocks(fullChunks)
    return { name, parts, file, ranges: parts.map(({ start, end = plain.length }) => ({ file, start, end })) }
  })
}

function jobOf (placed: readonly PlacedFile[], hash: OpenJob['hash']): OpenJob {
  const files = placed.map(({ file }) => file)
  // The longest first: a long one that is begun last is hashed by one thread while the others have nothing left to do.
  const ranges = placed.flatMap((file) => file.ranges).sort((a, b) => (b.end - b.start) - (a.end - a.start))
  const blocks = files.reduce((sum, { fullChunks }) => sum + countBlocks(fullChunks), 0)
  return { files, ranges, hash, blocks: sharedNumbers(blocks), control: sharedNumbers(controlSlots) }
}

function sharedNumbers (count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT))
}

function openedBytes ({ blocks }: OpenJob, { firstBlock, fullChunks, plain }: JobFile): number {
  const states = blocks.subarray(firstBlock, firstBlock + countBlocks(fullChunks))
  return Math.min(plain.length, states.reduce((sum, state) => state === opened ? sum + blockBytes : sum, 0))
}

/** Tells of the files that went on since it was last called. */
function tellOf (job: OpenJob, placed: readonly PlacedFile[], onProgress: OnProgress): () => void {
  const told = new Map<string, number>()
  return () => {
    for (const { name, file } of placed) {
      const bytes = openedBytes(job, file)
      if (told.get(name) === bytes) continue
      told.set(name, bytes)
      onProgress({ name, bytes, totalBytes: file.plain.length })
    }
  }
}

function requireOpened ({ blocks }: OpenJob, shares: readonly OpenedShare[]): void {
  const [fault] = shares.flatMap((share) => share.fault ?? []).sort((a, b) => a.block - b.block)
  if (fault !== undefined) throw errorOf(fault)
  // Threads may be wrong in ways they do not tell.
  if (blocks.some((state) => state !== opened)) throw guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-confused' })
}

function errorOf ({ name, kind, chunk, message }: OpenFault): GuardError {
  if (kind === 'changed') return chunkChanged({ name }, chunk)
  if (kind === 'shorter') return becameShorter({ name })
  return guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} cannot be read`, reason: 'unreadable-file', cause: new Error(message) })
}
