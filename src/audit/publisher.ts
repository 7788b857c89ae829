import path from 'node:path'
import { writeFileAtomic } from '../files.ts'
import type { Signer } from '../secrets/signer.ts'
import { openCheckpoint, signCheckpoint, type Checkpoint } from './checkpoint.ts'
import type { VerifierKey } from './note.ts'
import { removePartials, writeTiles } from './tiles.ts'
import type { LogTree } from './tree.ts'

export interface PublisherOptions {
  readonly directory: string
  readonly tree: LogTree
  readonly signer: Signer
  /** Of the signer, under the origin's name. */
  readonly key: VerifierKey
  /** The checkpoint on disk. */
  readonly last: Checkpoint | undefined
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
export function createPublisher ({ directory, tree, signer, key, last, onCheckpoint }: PublisherOptions): Publisher {
  let published = last
  let underWay: Promise<unknown> = Promise.resolve()

  async function publish (): Promise<Checkpoint> {
    if (published?.size === tree.size) return published
    const { size } = tree
    const root = tree.root()
    const full = tree.full.slice()
    // Entries before tiles before the checkpoint: nothing is promised that is not there.
    await writeTiles(directory, [...full, ...tree.partial()])
    const signed = await signCheckpoint(key.name, size, root, signer)
    // A checkpoint that its own key does not verify would keep the log from ever opening again.
    const checkpoint = openCheckpoint(signed.note, key)
    await writeFileAtomic(checkpointFile(directory), checkpoint.note)
    published = checkpoint
    tree.dropFull(full.length)
    // Outside of this turn: a listener that throws has not kept the checkpoint from being published.
    queueMicrotask(() => { onCheckpoint(checkpoint) })
    await removePartials(directory, full)
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
