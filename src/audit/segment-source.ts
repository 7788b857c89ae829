import { open, type FileHandle } from 'node:fs/promises'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { guardError } from '../errors.ts'

/** Bytes that one read of a segment gives at most. */
export const chunkBytes = 1_048_576

/** The bytes of a segment, whichever way it is kept. */
export interface SegmentSource {
  /** Puts the next bytes, at most {@link chunkBytes}, into the buffer from this place on; gives how many, 0 after the last. */
  read (buffer: Buffer, at: number): Promise<number>
  close (): Promise<void>
}

/** The name of a segment when it is compressed. */
export function compressedName (file: string): string {
  return `${file}.gz`
}

/** Whether a segment of this name is compressed. */
export function isCompressed (file: string): boolean {
  return file.endsWith('.gz')
}

/**
 * Opens a segment, or what it was compressed to since its name was read.
 * @param from where to begin, in bytes of the lines.
 * @param maxBytes what it may inflate to.
 */
export async function openSegment (file: string, from: number, maxBytes: number): Promise<SegmentSource> {
  if (isCompressed(file)) return inflated(file, await open(file, 'r'), from, maxBytes)
  try {
    return plain(await open(file, 'r'), from)
  } catch (error) {
    // Compressed under the reader's eyes, by the process that holds the log.
    const handle = await open(compressedName(file), 'r').catch(() => { throw error })
    return inflated(compressedName(file), handle, from, maxBytes)
  }
}

function plain (handle: FileHandle, from: number): SegmentSource {
  let position = from
  return {
    async read (buffer, at) {
      const { bytesRead } = await handle.read(buffer, at, chunkBytes, position)
      position += bytesRead
      return bytesRead
    },
    close: async () => { await handle.close() }
  }
}

function inflated (file: string, handle: FileHandle, from: number, maxBytes: number): SegmentSource {
  const gunzip = createGunzip({ chunkSize: chunkBytes })
  // Its reader is told of every failure; closing early is one to the pipeline.
  pipeline(handle.createReadStream({ highWaterMark: 65_536 }), gunzip, () => {})
  const chunks: AsyncIterator<Buffer, undefined> = gunzip[Symbol.asyncIterator]()
  let total = 0
  let skipped = 0

  async function next (): Promise<Buffer | undefined> {
    try {
      return (await chunks.next()).value
    } catch (cause) {
      // What zlib says of the bytes; anything else is the disk's word.
      throw String(Reflect.get(Object(cause), 'code')).startsWith('Z_') ? damaged(file, 'is not whole', cause) : cause
    }
  }

  return {
    async read (buffer, at) {
      for (;;) {
        const chunk = await next()
        if (chunk === undefined) return 0
        total += chunk.length
        // A few kilobytes can inflate to gigabytes.
        if (total > maxBytes) throw damaged(file, 'inflates to more than its records may hold')
        const wanted = chunk.subarray(from - skipped)
        skipped += chunk.length - wanted.length
        if (wanted.length > 0) return wanted.copy(buffer, at)
      }
    },
    async close () {
      gunzip.destroy()
      await handle.close()
    }
  }
}

function damaged (file: string, what: string, cause?: unknown): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `${file} ${what}`, cause })
}
