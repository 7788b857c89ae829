import { isNewer, type Block } from './block.ts'

/** What this process knows of who is blocked, in bounded memory. */
export interface KnownBlocks {
  /** Takes a block in, and tells whether it was news. */
  take (block: Block): boolean
  find (principal: string): Block | undefined
  /** Milliseconds, by this process's own clock, that it still runs. */
  millisecondsLeft (principal: string): number
  /** Those that run. */
  running (): Block[]
}

export interface KnownBlocksOptions {
  readonly maxBlocks: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds, only ever forward. */
  readonly clock: () => number
}

interface Known {
  readonly block: Block
  /** By `clock`. */
  readonly endsAt: number
}

/**
 * Blocks of this process's memory. Nothing that is done to the time of day, here or where a block was decided, makes one longer than it
 * was meant to be. When full, a new one takes the place of the one that ends first, or has ended first.
 */
export function knownBlocks ({ maxBlocks, now, clock }: KnownBlocksOptions): KnownBlocks {
  const known = new Map<string, Known>()
  // By their length in seconds, of which there are few: those of one length end in the order in which they were decided.
  const byLength = new Map<number, Set<Known>>()

  return {
    take (block) {
      const before = known.get(block.principal)
      if (block.forgetAt <= now() || !isNewer(block, before?.block)) return false
      if (before !== undefined) drop(before)
      else if (known.size >= maxBlocks) makeRoom()
      keep(block)
      return true
    },
    find (principal) {
      const found = known.get(principal)?.block
      return found !== undefined && found.forgetAt > now() ? found : undefined
    },
    millisecondsLeft,
    running: () => [...known.values()].map(({ block }) => block).filter(({ principal }) => millisecondsLeft(principal) > 0)
  }

  function millisecondsLeft (principal: string): number {
    const found = known.get(principal)
    return found === undefined ? 0 : Math.max(0, found.endsAt - clock())
  }

  function keep (block: Block): void {
    const { principal, seconds, until } = block
    const kept = { block, endsAt: clock() + Math.min(until - now(), seconds * 1000) }
    known.set(principal, kept)
    byLength.set(seconds, (byLength.get(seconds) ?? new Set()).add(kept))
  }

  function drop (kept: Known): void {
    const { principal, seconds } = kept.block
    known.delete(principal)
    byLength.get(seconds)?.delete(kept)
  }

  function makeRoom (): void {
    let first: Known | undefined
    for (const [oldest] of byLength.values()) if (oldest !== undefined && (first === undefined || oldest.endsAt < first.endsAt)) first = oldest
    if (first !== undefined) drop(first)
  }
}
