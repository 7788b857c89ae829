import path from 'node:path'
import { writeFileAtomic } from '../files.ts'
import type { Signer } from '../secrets/signer.ts'
import { openCheckpoint, signCheckpoint, type Checkpoint } from './checkpoint.ts'
import type { Keep } from './kept-checkpoints.ts'
import type { VerifierKey } from './note.ts'
import { removePartials, writeTiles, type Tile } from './tiles.ts'
import type { LogTree } from './tree.ts'

export interface PublisherOptions {
  readonly directory: string
  readonly tree: LogTree
  readonly signer: Signer
  /** Of the signer, under the origin's name. */
  readonly key: VerifierKey
  /** The checkpoint on disk. */
  readonly last: Checkpoint | undefined
  /** Called with what is about to be published. */
  readonly keep: Keep
  readonly onCheckpoint: (checkpoint: Checkpoint) => void
}

/** Makes the tree readable to others: entry bundles and tiles, then the checkpoint that promises them. */
export interface Publisher {
  /**
   * Publishes the tree as it is now, after what is under way; the last checkpoint again when nothing was added.
   * Whatever fails, the next call makes up for it.
   */
  publish (): Promise<Checkpoint>
}

/** Where a log's checkpoint stands. */
export function checkpointFile (directory: string): string {
  return path.join(directory, 'checkpoint')
}

/** Publishes into the log's folder. */
export function createPublisher ({ directory, tree, signer, key, last, keep, onCheckpoint }: PublisherOptions): Publisher {
  let published = last
  /** Tiles of which partial ones are on disk; `undefined` while that is not known, as after a crash. */
  let withPartials: Set<string> | undefined
  let underWay: Promise<unknown> = Promise.resolve()

  async function publish (): Promise<Checkpoint> {
    if (published?.size === tree.size) return published
    const { size } = tree
    const root = tree.root()
    const full = tree.full.slice()
    const partial = tree.partial()
    for (const tile of partial) withPartials?.add(nameOf(tile))
    // Entries before tiles before the checkpoint: nothing is promised that is not there.
    await writeTiles(directory, [...full, ...partial])
    const signed = await signCheckpoint(key.name, size, root, signer)
    // A checkpoint that its own key does not verify would keep the log from ever opening again.
    const checkpoint = openCheckpoint(signed.note, key)
    await keep(checkpoint)
    await writeFileAtomic(checkpointFile(directory), checkpoint.note)
    published = checkpoint
    // Outside of this turn: a listener that throws has not kept the checkpoint from being published.
    queueMicrotask(() => { onCheckpoint(checkpoint) })
    const grown = full.filter((tile) => withPartials?.has(nameOf(tile)) ?? true)
    tree.dropFull(full.length)
    await removePartials(directory, grown)
    withPartials = new Set(partial.map(nameOf))
    return checkpoint
  }

  return {
    async publish () {
      const publishing = underWay.then(publish, publish)
      underWay = publishing
      return await publishing
    }
  }
}

function nameOf ({ level, index }: Tile): string {
  return `${level}/${index}`
}
