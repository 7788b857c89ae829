import { stat } from 'node:fs/promises'
import { hasRoot, type Claim } from './checkpoint.ts'
import type { BlockHasher, HashedBlock } from './hashed-blocks.ts'
import { leafOf } from './line-hashes.ts'
import { listSegments, readLineBlocks, segmentsFolder } from './segment-files.ts'
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

  settleClaims()
  for (const { file, firstSeq } of await listSegments(segmentsFolder(directory))) {
    if (tornBytes > 0) refuse('is torn, and is not the last')
    else if (firstSeq !== tree.size) refuse(`is missing: the next segment begins with ${firstSeq}`)
    if (problems.length > 0) break
    await walkSegment(file)
  }
  await checking
  await check(edge)
  if (problems.length === 0) missing()
  else await checkUnfinished()
  return { size: tree.size, tornBytes, problems: mostPrecise(problems) }

  async function walkSegment (file: string): Promise<void> {
    for await (const block of hasher.hash(readLineBlocks(file))) {
      if (block.torn) tornBytes = (await stat(file)).size - block.offset
      else addLines(block)
      // The tiles of these lines are read while the next ones are hashed.
      await checking
      tree.dropFull(checked)
      checked = tree.full.length
      checking = check(tree.full.filter(isPromised))
      if (problems.length > 0) return
    }
  }

  function addLines ({ bytes, lines }: HashedBlock): void {
    let start = 1
    for (const [line, end] of lines.ends.entries()) {
      const seq = lines.seqs[line]
      if (seq !== tree.size) {
        refuse(seq === undefined ? 'is not a canonical line' : `is missing: record ${seq} stands in its place`)
        return
      }
      tree.append(bytes, start, end, leafOf(lines, line))
      start = end + 1
      if (tree.size === claims[settled]?.claim.size) settleClaims()
    }
  }

  function refuse (what: string): void {
    problems.push({ seq: tree.size, what: `record ${tree.size} ${what}` })
  }

  function settleClaims (): void {
    if (tree.size === covered) edge = tree.partial()
    const root = tree.root()
    for (let next = claims[settled]; next?.claim.size === tree.size; next = claims[++settled]) {
      if (!hasRoot(next.claim, root)) problems.push({ what: `the first ${tree.size} records do not have the root of ${next.name}` })
    }
  }

  function missing (): void {
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

  /** The lines of the last bundle before reading stopped: one of them may be the first that is wrong. */
  async function checkUnfinished (): Promise<void> {
    for (const tile of tree.partial()) {
      const promised = Math.min(tileWidth, covered - tile.index * tileWidth)
      if ((tile.level !== 'entries' && tile.level !== 0) || promised < tile.width) continue
      const problem = await checkTile(directory, tile, promised)
      if (problem !== undefined) problems.push(problem)
    }
  }
}
