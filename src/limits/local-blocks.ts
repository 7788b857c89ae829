import { requireAnotherPrincipal, readApproved } from '../approval.ts'
import { liftedBlock, nextBlock, type Block } from './block.ts'
import type { BlockChange, Blocks } from './blocks.ts'
import { knownBlocks, type KnownBlocksOptions } from './known-blocks.ts'

export interface LocalBlocksOptions extends KnownBlocksOptions {
  /** Told of what the listener throws over what others decided. */
  readonly onError: (error: unknown) => void
  /** Tells the others of what was decided here. */
  readonly share: (block: Block) => Promise<void>
}

/** Blocks as one node decides and hears of them. */
export interface LocalBlocks extends Omit<Blocks, 'close'> {
  /** Takes in what another node decided; `false` when this one knows as much, or better. */
  hear (block: Block): boolean
  find (principal: string): Block | undefined
}

/** Decides by what is known here, and shares what it decides. */
export function localBlocks (options: LocalBlocksOptions): LocalBlocks {
  const { now, onError, share } = options
  const known = knownBlocks(options)
  let listener: (change: BlockChange) => Promise<void> = async () => undefined

  return {
    secondsLeft: (principal) => Math.ceil(known.millisecondsLeft(principal) / 1000),
    versionOf: (principal) => known.find(principal)?.version ?? 0,
    find: (principal) => known.find(principal),
    async block (principal, backoff) {
      const block = nextBlock(principal, known.find(principal), backoff, now())
      known.take(block)
      // Who was refused does not wait for the others to hear of it.
      share(block).catch(onError)
      await listener({ kind: 'block', block })
    },
    async lift (principal, givenBy) {
      const by = readApproved(givenBy, 'by')
      requireAnotherPrincipal(principal, by)
      const running = known.millisecondsLeft(principal) > 0 ? known.find(principal) : undefined
      if (running === undefined) return false
      const block = liftedBlock(running, by, now())
      known.take(block)
      await Promise.all([share(block), listener({ kind: 'lift', block })])
      return true
    },
    list: () => known.running().sort((a, b) => b.until - a.until),
    whenChanged (given) { listener = given },
    hear (block) {
      if (!known.take(block)) return false
      listener({ kind: block.level === 0 ? 'lift' : 'block', block }).catch(onError)
      return true
    }
  }
}
