import { functionOf, integer, object, withDefault } from '../options.ts'
import type { Blocks } from './blocks.ts'
import { localBlocks } from './local-blocks.ts'

export interface MemoryBlocksOptions {
  /** Blocks remembered at once, those that ran included, about 0.5 kB each. Default 100,000. */
  readonly maxBlocks?: number
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly now?: () => number
  /** Milliseconds from any moment, only ever forward. Default `performance.now`. */
  readonly clock?: () => number
}

/** Readers of these options. */
export const memoryBlocksOptions = {
  maxBlocks: withDefault(integer({ min: 1, max: 10_000_000 }), 100_000),
  now: withDefault(functionOf<() => number>(), Date.now),
  clock: withDefault(functionOf<() => number>(), () => performance.now())
}

const readOptions = object(memoryBlocksOptions)

/** Who is blocked by this process; forgotten when it ends. */
export function memoryBlocks (options: MemoryBlocksOptions = {}): Blocks {
  const nothing = (): void => undefined
  return { ...localBlocks({ ...readOptions(options, 'memoryBlocks'), onError: nothing, share: async () => { nothing() } }), close: async () => { nothing() } }
}
