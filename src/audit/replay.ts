import { stat } from 'node:fs/promises'
import { guardError } from '../errors.ts'
import { hasRoot, type Checkpoint } from './checkpoint.ts'
import { lineSeq } from './line-check.ts'
import { findLine } from './line-search.ts'
import { hashLeafInPlace } from './merkle.ts'
import { readLineBlocks, type LineBlock, type SegmentFile } from './segment-files.ts'
import { isCompressed } from './segment-source.ts'
import type { Tile } from './tiles.ts'
import type { LogTree } from './tree.ts'

export interface ReplayOptions {
  readonly segments: readonly SegmentFile[]
  /** Grows by the lines that follow it. */
  readonly tree: LogTree
  readonly checkpoint: Checkpoint | undefined
  /** Called now and then, to take full tiles away from the tree. */
  readonly drain: () => Promise<void> | void
}

/** Where the lines end. */
export interface ReplayEnd {
  /** The last segment, and bytes of it that hold whole lines; `undefined` without segments. */
  readonly newest: { readonly file: string, readonly length: number } | undefined
  /** Bytes after them. */
  readonly tornBytes: number
  /** The partial tiles as they were at the checkpoint's size. */
  readonly edge: readonly Tile[]
}

/**
 * Adds the lines of a log to its tree. Lines that the checkpoint covers are held against its root, later ones must be
 * canonical and of the right seq, and the last one may be torn. Changes no file.
 * @returns `undefined` when the tree has another root than the checkpoint at the checkpoint's size.
 * @throws FMG_ERR_LOG_INCONSISTENT when a line is missing, torn or not canonical.
 */
export async function replay ({ segments, tree, checkpoint, drain }: ReplayOptions): Promise<ReplayEnd | undefined> {
  const covered = checkpoint?.size ?? 0
  const [first, ...others] = segments.slice(Math.max(0, segments.findLastIndex(({ firstSeq }) => firstSeq <= tree.size)))
  const start = await startOf(first, tree.size)
  let { seq } = start
  let edge: readonly Tile[] = []
  let newest: { file: string, length: number } | undefined
  let tornBytes = 0
  if (!agrees()) return undefined
  for (const { file, firstSeq, maxBytes } of first === undefined ? [] : [{ ...first, firstSeq: seq }, ...others]) {
    if (tornBytes > 0) throw inconsistent(`record ${seq} is torn, and is not the last`)
    if (firstSeq !== seq) throw inconsistent(`record ${seq} is missing: the next segment begins with ${firstSeq}`)
    const from = file === first?.file ? start.from : 0
    newest = { file, length: from }
    for await (const block of readLineBlocks(file, { from, maxBytes })) {
      const end = block.torn ? 1 : addLines(block)
      if (end === undefined) return undefined
      newest.length = block.offset + end - 1
      if (end < block.bytes.length) {
        tornBytes = (await stat(file)).size - newest.length
        break
      }
      await drain()
    }
  }
  // A segment is compressed when records that follow it are under a checkpoint.
  if (newest !== undefined && isCompressed(newest.file)) throw inconsistent(`record ${seq} is missing: the last segment is compressed, as only earlier ones are`)
  if (seq < covered) throw inconsistent(`record ${seq} is missing: the checkpoint covers ${covered}`)
  return { newest, tornBytes, edge }

  /** Where the whole lines of a block end; `undefined` when they contradict the checkpoint. */
  function addLines ({ bytes }: LineBlock): number | undefined {
    let start = 1
    for (let end; start < bytes.length; start = end + 1) {
      end = bytes.indexOf(10, start)
      if (seq === tree.size) {
        if (seq >= covered && lineSeq(bytes, start, end) !== seq) return refuse(bytes.subarray(start, end), start)
        tree.append(bytes, start, end, hashLeafInPlace(bytes, start, end))
        if (!agrees()) return undefined
      }
      seq++
    }
    return start
  }

  function refuse (line: Buffer, start: number): number {
    // A hole of zeros is what a power cut leaves of pages that never reached the disk: of a group that nobody was told of.
    if (line.includes(0)) return start
    throw inconsistent(`the line of record ${seq} is not its canonical record`)
  }

  function agrees (): boolean {
    if (tree.size !== checkpoint?.size) return true
    edge = tree.partial()
    return hasRoot(checkpoint, tree.root())
  }
}

/** Where reading begins: at the line that the tree lacks, if it can be found at the end of its segment, else at its beginning. */
async function startOf (first: SegmentFile | undefined, size: number): Promise<{ readonly seq: number, readonly from: number }> {
  const beginning = { seq: first?.firstSeq ?? 0, from: 0 }
  if (first === undefined || size <= first.firstSeq || isCompressed(first.file)) return beginning
  const from = await findLine(first.file, size)
  return from === undefined ? beginning : { seq: size, from }
}

function inconsistent (detail: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail })
}
