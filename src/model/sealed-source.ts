import type { FileHandle } from 'node:fs/promises'
import { guardError, type GuardError } from '../errors.ts'
import { headerBytes, sealedChunkBytes, tagBytes } from './sealed-chunk.ts'

/** Sealed bytes, wherever they lie. */
export interface SealedSource {
  /** Names the source in errors. */
  readonly name: string
  readonly bytes: number
  /** Fills the target from this offset on; gives how many bytes there were. */
  read (target: Uint8Array, offset: number): Promise<number>
}

/** A sealed file that other threads of this process can read too, as long as it is open. */
export interface SealedFileSource extends SealedSource {
  readonly fd: number
}

/** A file that was opened once and stays the same file until it is closed. */
export function fileSource (name: string, handle: FileHandle, bytes: number): SealedFileSource {
  return { name, bytes, fd: handle.fd, read: async (target, offset) => (await handle.read(target, 0, target.length, offset)).bytesRead }
}

/**
 * How many chunks a source has by its length, the last included.
 * @throws FMG_ERR_MODEL_TAMPERED with reason `sealed-length`: a length with no room for a short last chunk is that of a file that was cut, or
 * made longer.
 */
export function countChunks (source: SealedSource): number {
  const body = source.bytes - headerBytes
  if (body % sealedChunkBytes < tagBytes) throw tampered(source, 'sealed-length', 'is cut short, or longer than it was')
  const chunks = Math.floor(body / sealedChunkBytes) + 1
  if (chunks > 2 ** 38) throw tampered(source, 'sealed-length', 'has more chunks than there can be')
  return chunks
}

/**
 * Fills the whole target.
 * @throws FMG_ERR_MODEL_TAMPERED with reason `sealed-length` when there are fewer bytes.
 */
export async function readExactly (source: SealedSource, target: Buffer, offset: number): Promise<Buffer> {
  for (let filled = 0; filled < target.length;) {
    const count = await source.read(target.subarray(filled), offset + filled)
    if (count === 0) throw becameShorter(source)
    filled += count
  }
  return target
}

/** The error for a source that ends before its length. */
export function becameShorter (source: Pick<SealedSource, 'name'>): GuardError {
  return tampered(source, 'sealed-length', 'became shorter while it was read')
}

/** The error for a chunk that is not the one that was sealed in this place. */
export function chunkChanged (source: Pick<SealedSource, 'name'>, index: number): GuardError {
  return tampered(source, 'sealed-chunk', `was changed in chunk ${index}`)
}

/** The error for sealed bytes that are not what they were. */
export function tampered ({ name }: Pick<SealedSource, 'name'>, reason: string, detail: string): GuardError {
  return guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${name} ${detail}`, reason })
}
