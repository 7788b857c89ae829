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

/** How many are looked at to find the one that makes room for another. */
const candidates = 16

/**
 * Blocks of this process's memory. Nothing that is done to the time of day, here or where a block was decided, makes one longer than it
 * was meant to be.
 *
 * When full, a new one takes the place of old ones: of the next 16 in turn, all that are to be forgotten go, or else the one that ends
 * first.
 */
export function knownBlocks ({ maxBlocks, now, clock }: KnownBlocksOptions): KnownBlocks {
  const known = new Map<string, Known>()
  let turn = known.entries()

  return {
    take (block) {
      const before = known.get(block.principal)
      if (block.forgetAt <= now() || !isNewer(block, before?.block)) return false
      if (before === undefined && known.size >= maxBlocks) makeRoom()
      const left = Math.min(block.until - now(), block.seconds * 1000)
      known.set(block.principal, { block, endsAt: clock() + left })
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

  function makeRoom (): void {
    let first = ''
    let earliest = Infinity
    for (let looks = 0; looks < candidates; looks++) {
      const step = turn.next()
      if (step.done === true) {
        turn = known.entries()
        continue
      }
      const [principal, { block, endsAt }] = step.value
      if (block.forgetAt <= now()) known.delete(principal)
      if (endsAt < earliest) {
        earliest = endsAt
        first = principal
      }
    }
    known.delete(first)
  }
}
