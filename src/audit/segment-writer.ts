import fs from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { syncFolder } from '../files.ts'
import { segmentFile } from './segment-files.ts'
import { firstTime } from './segment-time.ts'

/** Makes durable what was written. When it rejects, none of that is in the log. */
export type Sync = () => Promise<void>

/** The end of the durable log. One write, then its sync, at a time. */
export interface SegmentWriter {
  /**
   * Writes whole lines to the newest segment, or to a new one that begins with this seq where that one is full or has
   * failed. They are durable after the sync that it resolves to. When it rejects, none of them is in the log.
   */
  write (lines: Uint8Array, firstSeq: number): Promise<Sync>
  close (): Promise<void>
}

export interface SegmentWriterOptions {
  readonly folder: string
  /** A segment that has grown to so many bytes is followed by a new one. */
  readonly maxBytes: number
  /** A segment that was begun so many seconds ago is followed by a new one. */
  readonly maxSeconds: number
  /** The newest segment and how many bytes of it are known to be durable. */
  readonly newest: { readonly file: string, readonly length: number } | undefined
  /** Milliseconds since the epoch. */
  readonly clock: () => number
}

interface OpenSegment {
  readonly fd: number
  readonly file: string
  /** Milliseconds since the epoch. */
  readonly begun: number
  /** Bytes that are known to be durable. */
  length: number
}

/** Continues a log after its last line. */
export async function openSegmentWriter ({ folder, maxBytes, maxSeconds, newest, clock }: SegmentWriterOptions): Promise<SegmentWriter> {
  let segment: OpenSegment | undefined
  let failed: { readonly file: string, readonly length: number } | undefined
  if (newest !== undefined) segment = { fd: await openFile(newest.file, 'a'), begun: await firstTime(newest.file) ?? clock(), ...newest }

  function isFull ({ length, begun }: OpenSegment): boolean {
    // Its name is that of the first line it lacks: without one, a new segment would have the same.
    return length > 0 && (length >= maxBytes || clock() - begun >= maxSeconds * 1000)
  }

  /**
   * After a failed write or sync nobody knows which of the new bytes are on disk, and a second sync may say yes to bytes that
   * the first one lost. So the file is given up: cut to what earlier syncs made durable, and never appended to again.
   */
  async function abandon ({ fd, file, length }: OpenSegment): Promise<void> {
    failed = { file, length }
    segment = undefined
    await closeFile(fd).catch(ignore)
    // Now if it can be, so that a crash meanwhile does not leave what nobody was told of; else before the next write.
    await repair().catch(ignore)
  }

  async function repair (): Promise<void> {
    if (failed === undefined) return
    // Without a durable line its name is that of the segment which takes its place.
    if (failed.length === 0) await rm(failed.file, { force: true })
    else await cutFile(failed.file, failed.length)
    failed = undefined
  }

  async function current (firstSeq: number): Promise<OpenSegment> {
    await repair()
    if (segment !== undefined && !isFull(segment)) return segment
    await close()
    const file = segmentFile(folder, firstSeq)
    segment = { fd: await openFile(file, 'ax'), file, begun: clock(), length: 0 }
    try {
      await syncFolder(folder)
    } catch (cause) {
      await abandon(segment)
      throw cause
    }
    return segment
  }

  async function close (): Promise<void> {
    const closing = segment
    segment = undefined
    if (closing !== undefined) await closeFile(closing.fd)
  }

  async function write (lines: Uint8Array, firstSeq: number): Promise<Sync> {
    const open = await current(firstSeq)
    /** A step on the open file, which is given up when the step fails. */
    async function attempt (step: () => Promise<void>): Promise<void> {
      try {
        await step()
      } catch (cause) {
        await abandon(open)
        throw cause
      }
    }
    await attempt(async () => { await writeAll(open.fd, lines) })
    return async () => {
      await attempt(async () => { await syncFile(open.fd) })
      open.length += lines.length
    }
  }

  return { write, close }
}

async function writeAll (fd: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await writeFile(fd, bytes, at)
}

/** Cuts a file to a length and makes the cut durable. */
export async function cutFile (file: string, length: number): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.truncate(length)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

function ignore (): void {}

// By callback inside: a FileHandle costs each of these calls as much again in promises and bookkeeping.

function openFile (file: string, flags: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(file, flags, 0o600, (error, fd) => { if (error === null) resolve(fd); else reject(error) })
  })
}

function writeFile (fd: number, bytes: Uint8Array, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, count) => {
      if (error === null && count > 0) resolve(count)
      else reject(error ?? new Error('nothing was written'))
    })
  })
}

function syncFile (fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.fdatasync(fd, (error) => { if (error === null) resolve(); else reject(error) })
  })
}

function closeFile (fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => { if (error === null) resolve(); else reject(error) })
  })
}
