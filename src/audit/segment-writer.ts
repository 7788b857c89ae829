import fs from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { syncFolder } from '../files.ts'
import { segmentFile } from './segment-files.ts'

/** The end of the durable log. One write and one sync at a time. */
export interface SegmentWriter {
  /**
   * Writes whole lines to the newest segment, or to a new one that begins with this seq where that one is full or has failed.
   * They are durable after `sync`. When it rejects, none of them, nor of any that were written since the last sync, is in the log.
   */
  write (lines: Uint8Array, firstSeq: number): Promise<void>
  /** Makes durable what was written. When it rejects, none of it is in the log. */
  sync (): Promise<void>
  close (): Promise<void>
}

export interface SegmentWriterOptions {
  readonly folder: string
  /** A segment that has grown to so many bytes is followed by a new one. */
  readonly maxBytes: number
  /** The newest segment and how many bytes of it are known to be durable. */
  readonly newest: { readonly file: string, readonly length: number } | undefined
}

interface OpenSegment {
  readonly fd: number
  readonly file: string
  written: number
  durable: number
}

/** Continues a log after its last line. */
export async function openSegmentWriter ({ folder, maxBytes, newest }: SegmentWriterOptions): Promise<SegmentWriter> {
  let segment: OpenSegment | undefined
  let failed: { readonly file: string, readonly durable: number } | undefined
  if (newest !== undefined) segment = { fd: await openFile(newest.file, 'a'), file: newest.file, written: newest.length, durable: newest.length }

  /**
   * After a failed write or sync nobody knows which of the new bytes are on disk, and a second sync may say yes to bytes that
   * the first one lost. So the file is given up: cut to what earlier syncs made durable, and never appended to again.
   */
  async function abandon ({ fd, file, durable }: OpenSegment): Promise<void> {
    failed = { file, durable }
    segment = undefined
    await closeFile(fd).catch(ignore)
    // Now if it can be, so that a crash meanwhile does not leave what nobody was told of; else before the next write.
    await repair().catch(ignore)
  }

  async function repair (): Promise<void> {
    if (failed === undefined) return
    // Without a durable line its name is that of the segment which takes its place.
    if (failed.durable === 0) await rm(failed.file, { force: true })
    else await cutFile(failed.file, failed.durable)
    failed = undefined
  }

  async function rotate (firstSeq: number): Promise<OpenSegment> {
    if (segment !== undefined && segment.written < maxBytes) return segment
    await close()
    const file = segmentFile(folder, firstSeq)
    segment = { fd: await openFile(file, 'ax'), file, written: 0, durable: 0 }
    await syncFolder(folder)
    return segment
  }

  async function close (): Promise<void> {
    const closing = segment
    segment = undefined
    if (closing !== undefined) await closeFile(closing.fd)
  }

  return {
    async write (lines, firstSeq) {
      try {
        await repair()
        const { fd } = await rotate(firstSeq)
        for (let at = 0; at < lines.length;) at += await writeFile(fd, lines, at)
      } catch (cause) {
        if (segment !== undefined) await abandon(segment)
        throw cause
      }
      if (segment !== undefined) segment.written += lines.length
    },
    async sync () {
      if (segment === undefined) return
      try {
        await syncFile(segment.fd)
      } catch (cause) {
        await abandon(segment)
        throw cause
      }
      segment.durable = segment.written
    },
    close
  }
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
    fs.close(fd, (error) => { if (error == null) resolve(); else reject(error) })
  })
}
