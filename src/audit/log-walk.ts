import { stat } from 'node:fs/promises'
import { isGuardError } from '../errors.ts'
import { hasRoot, type Claim } from './checkpoint.ts'
import type { BlockHasher, HashedBlock } from './hashed-blocks.ts'
import { leafOf } from './line-hashes.ts'
import { fromDigest, type Digest } from './merkle.ts'
import { addRetired } from './retired-leaves.ts'
import { retirementIn, type Retirement } from './retirement.ts'
import { listSegments, readLineBlocks, segmentsFolder, type SegmentFile } from './segment-files.ts'
import { isCompressed } from './segment-source.ts'
import { checkPartials, checkTile, mostPrecise, type LogProblem } from './tile-check.ts'
import { tileWidth, type Tile } from './tiles.ts'
import { createTree } from './tree.ts'

export interface WalkOptions {
  readonly directory: string
  /** What the tiles are held against, and the lines. */
  readonly checkpoint: Claim | undefined
  /** Earlier claims that the lines are held against, each with the name by which it is reported. */
  readonly earlier: readonly NamedClaim[]
  readonly hasher: BlockHasher
}

export interface NamedClaim {
  readonly claim: Claim
  readonly name: string
}

export interface Walked {
  /** Lines that are whole, canonical and in their place. */
  readonly size: number
  /** Of those, the ones before this seq are no longer kept: their hashes are. */
  readonly retiredBefore: number
  /** Bytes after the last whole line. */
  readonly tornBytes: number
  readonly problems: readonly LogProblem[]
}

/** Recomputes a log from its lines, up to the first that is wrong, and holds everything else on disk against them. */
export async function walkLog ({ directory, checkpoint, earlier, hasher }: WalkOptions): Promise<Walked> {
  const tree = createTree()
  const problems: LogProblem[] = []
  const covered = checkpoint?.size ?? 0
  const claims = [...checkpoint === undefined ? [] : [{ claim: checkpoint, name: 'the checkpoint' }], ...earlier].sort((a, b) => a.claim.size - b.claim.size)
  let settled = 0
  let checking: Promise<void> = Promise.resolve()
  let checked = 0
  let edge: readonly Tile[] = []
  let tornBytes = 0
  /** Roots of the records before each segment. */
  const roots = new Map<number, Digest>()
  /** Before it records may be missing. */
  let mayBeMissing = 0

  settleClaims()
  const segments = await listSegments(segmentsFolder(directory))
  const retired = segments[0]?.firstSeq ?? 0
  await attempt(async () => { await addRetired(directory, retired, tree, settleDue, checkFull) })
  for (const segment of segments) {
    if (problems.length > 0) break
    if (tornBytes > 0) refuse('is torn, and is not the last')
    else if (segment.firstSeq !== tree.size) refuse(`is missing: the next segment begins with ${segment.firstSeq}`)
    if (problems.length > 0) break
    roots.set(tree.size, tree.root())
    await attempt(async () => { await walkSegment(segment) })
  }
  await checking
  await check(edge)
  if (problems.length === 0) missing(segments.at(-1))
  else await checkUnfinished()
  return { size: tree.size, retiredBefore: retired, tornBytes, problems: mostPrecise(problems) }

  /** What cannot be read, for what stands there, concerns the first record that was not. */
  async function attempt (step: () => Promise<void>): Promise<void> {
    try {
      await step()
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_LOG_INCONSISTENT')) throw error
      problems.push({ seq: tree.size, what: error.message })
    }
  }

  async function walkSegment ({ file, maxBytes }: SegmentFile): Promise<void> {
    for await (const block of hasher.hash(readLineBlocks(file, { maxBytes }))) {
      if (block.torn) tornBytes = (await stat(file)).size - block.offset
      else addLines(block)
      await checkFull()
      if (problems.length > 0) return
    }
  }

  /** The tiles of these lines are read while the next ones are hashed. */
  async function checkFull (): Promise<void> {
    await checking
    tree.dropFull(checked)
    checked = tree.full.length
    checking = check(tree.full.filter(isPromised))
  }

  function addLines ({ bytes, lines }: HashedBlock): void {
    let start = 1
    for (const [line, end] of lines.ends.entries()) {
      const seq = Number(lines.seqs[line])
      if (seq !== tree.size) {
        refuse(Number.isNaN(seq) ? 'is not a canonical line' : `is missing: record ${seq} stands in its place`)
        return
      }
      checkRetirement(seq, retirementIn(bytes, start, end))
      tree.append(bytes, start, end, leafOf(lines, line))
      start = end + 1
      settleDue()
    }
  }

  /** What a record under the checkpoint says of those that it lets go; of what is not signed nobody knows who wrote it. */
  function checkRetirement (seq: number, retirement: Retirement | undefined): void {
    if (retirement === undefined || seq >= covered) return
    const root = roots.get(retirement.before)
    if (root !== undefined && fromDigest(root).toString('base64') !== retirement.root) refuse(`does not say the root of the first ${retirement.before}`)
    // Of what is not there no root is known, nor needed: then it lets go of less than is missing.
    if (root !== undefined || retirement.before < retired) mayBeMissing = Math.max(mayBeMissing, retirement.before)
  }

  function refuse (what: string): void {
    problems.push({ seq: tree.size, what: `record ${tree.size} ${what}` })
  }

  function settleDue (): void {
    if (tree.size === claims[settled]?.claim.size) settleClaims()
  }

  function settleClaims (): void {
    if (tree.size === covered) edge = tree.partial()
    const root = tree.root()
    for (let next = claims[settled]; next?.claim.size === tree.size; next = claims[++settled]) {
      if (!hasRoot(next.claim, root)) problems.push({ what: `the first ${tree.size} records do not have the root of ${next.name}` })
    }
  }

  function missing (last: SegmentFile | undefined): void {
    if (retired > mayBeMissing) problems.push({ seq: mayBeMissing, what: `record ${mayBeMissing} is missing: the first segment begins with ${retired}, and no record says that those before it were retired` })
    // A segment is compressed when records that follow it are under a checkpoint.
    if (last !== undefined && isCompressed(last.file)) refuse('is missing: the last segment is compressed, as only earlier ones are')
    for (const { claim, name } of claims.slice(settled)) refuse(`is missing: ${name} covers ${claim.size}`)
  }

  /** What the checkpoint does not cover may be there, or not yet. */
  function isPromised ({ level, index }: Tile): boolean {
    return (index + 1) * tileWidth * (level === 'entries' ? 1 : tileWidth ** level) <= covered
  }

  async function check (tiles: readonly Tile[]): Promise<void> {
    const found = await Promise.all(tiles.map(async (tile) => {
      const problem = await checkTile(directory, tile)
      const earlier = tile.width < tileWidth ? await checkPartials(directory, tile) : []
      return problem === undefined ? earlier : [problem, ...earlier]
    }))
    problems.push(...found.flat())
  }

  /** The tiles that grew when reading stopped: what is wrong may be in the lines of the last bundle, or in the hashes of those that are retired. */
  async function checkUnfinished (): Promise<void> {
    for (const tile of tree.partial()) {
      const promised = Math.min(tileWidth, Math.floor(covered / (tile.level === 'entries' ? 1 : tileWidth ** tile.level)) - tile.index * tileWidth)
      const problem = promised < tile.width ? undefined : await checkTile(directory, tile, promised)
      if (problem !== undefined) problems.push(problem)
    }
  }
}
