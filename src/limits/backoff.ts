import type { Backoff } from './block.ts'
import type { Blocks } from './blocks.ts'
import type { Limiter, LimitRequest } from './limiter.ts'
import { memoryLimiter } from './memory-limiter.ts'

/** Counts what principals do against their limits, and blocks those who do it again and again. */
export interface Violations {
  /**
   * Counts one refusal by a window that is this principal's own. What it may lead to has happened when this resolves; it never rejects.
   * @param group as in a `LimitRequest`.
   */
  note (principal: string, group: string): Promise<void>
}

/** How many principals a node counts by itself while the limiter cannot be reached. */
const maxCounted = 10_000

/**
 * Violations of all nodes that share this limiter, counted in a window of its own: one call of it for each, none for a request that is
 * allowed. While the limiter fails, each node counts those that come to it.
 * @param onError told of what the listener of `blocks` throws.
 */
export function countViolations (limiter: Limiter, blocks: Blocks, backoff: Backoff, onError: (error: unknown) => void): Violations {
  const { violations, withinSeconds } = backoff
  // The one that finds no more room is the last that is borne.
  const windows = [{ name: 'violations', quota: violations - 1, windowSeconds: withinSeconds, whenUnavailable: 'local' as const }]
  const alone = memoryLimiter({ maxKeys: maxCounted })

  return {
    async note (principal, group) {
      if (blocks.secondsLeft(principal) > 0) return
      // Counted anew after each block: one violation after it must not lead to the next.
      const version = blocks.versionOf(principal)
      const request: LimitRequest = { group, cost: 1, budgets: [{ key: JSON.stringify(['violations', version, principal]), windows }] }
      const { allowed } = await consume(request)
      // Of many that were refused at once, one has led to the block.
      if (allowed || blocks.versionOf(principal) !== version) return
      await blocks.block(principal, backoff).catch(onError)
    }
  }

  async function consume (request: LimitRequest): Promise<{ readonly allowed: boolean }> {
    try {
      return await limiter.consume(request)
    } catch {
      // Whoever charges requests by it says so.
      return alone.consume(request)
    }
  }
}
