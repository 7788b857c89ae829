import { recordSeal } from '../books/record-seal.ts'
import { readPrefix } from '../books/redis-book.ts'
import { guardError } from '../errors.ts'
import { functionOf, havingMethods, integer, object, withDefault } from '../options.ts'
import { readPepperBytes } from '../pepper.ts'
import { turns } from '../turns.ts'
import { isNewer, readBlock, type Block } from './block.ts'
import type { Blocks } from './blocks.ts'
import { localBlocks } from './local-blocks.ts'
import { memoryBlocksOptions, type MemoryBlocksOptions } from './memory-blocks.ts'
import { blockCommand, type SealedBlock } from './redis-block-commands.ts'
import type { RedisLike } from './run-script.ts'

export interface RedisBlocksOptions extends MemoryBlocksOptions {
  /** Needs the rights `+eval +get +set +setnx +incr +time +hget +hset +hdel +zadd +zrem +zcard +zrange +zrangebyscore` and the keys below the prefix. Redis 5 or later, or Valkey. */
  readonly client: RedisLike
  /** At least 32 bytes, kept apart from Redis, the same for all nodes; the blocks' MACs are made with a key derived from it. */
  readonly pepper: Uint8Array
  /** Blocks of another epoch are not known. Default 0. */
  readonly epoch?: number
  /** In braces, starts every key. Default `model-guard:blocks:`. */
  readonly prefix?: string
  /** Milliseconds between two questions what the others decided. Default 500. */
  readonly intervalMs?: number
  /** Milliseconds that a lift waits for Redis. Default 1000. */
  readonly timeoutMs?: number
  /** Told of blocks of another's making, of blocks that could not be told yet, and once when Redis cannot be reached. Default: a process warning. */
  readonly onError?: (error: unknown) => void
}

const readOptions = object({
  ...memoryBlocksOptions,
  client: havingMethods<RedisLike>('call'),
  pepper: readPepperBytes,
  epoch: withDefault(integer({ min: 0 }), 0),
  prefix: withDefault(readPrefix, 'model-guard:blocks:'),
  intervalMs: withDefault(integer({ min: 10, max: 900 }), 500),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 1000),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error: unknown) => { process.emitWarning(String(error)) })
})

const maxWritten = 100

/**
 * Who is blocked by any of the nodes that share a Redis, in the memory of each. While Redis cannot be reached, a node goes by what it
 * knows, blocks by itself, and tells the others when it is back; all blocks outlive a Redis that was emptied.
 *
 * Who can write to Redis, but has not the pepper, can block nobody, and lift no block on a node that runs. What he takes away, a node
 * that starts after that does not hear of.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached at the start.
 */
export async function redisBlocks (options: RedisBlocksOptions): Promise<Blocks> {
  const { client, pepper, epoch, prefix, intervalMs, timeoutMs, onError, ...kept } = readOptions(options, 'redisBlocks')
  const seal = recordSeal('limit-blocks', pepper, epoch)
  const exchange = blockCommand(client, prefix, kept.maxBlocks)
  const exchanges = turns()
  // Decided here, and not told yet: the last of each principal.
  const outbox = new Map<string, SealedBlock>()
  let generation = ''
  let since = 0
  let next: Promise<void> | undefined
  let isReached = true
  const local = localBlocks({ ...kept, onError, share })
  await ask()
  const timer = setInterval(look, intervalMs).unref()

  return {
    ...local,
    async close () {
      clearInterval(timer)
      await inTime(exchanges.over()).catch(() => undefined)
    }
  }

  function look (): void {
    ask().catch(tellOnce)
  }

  async function share (block: Block): Promise<void> {
    put(block)
    await inTime(ask())
  }

  function put (block: Block): void {
    const { principal, forgetAt } = readBlock(block, 'block')
    outbox.set(principal, { principal, forgetAt, text: seal.seal('record', block) })
    if (outbox.size > kept.maxBlocks) outbox.delete(String(outbox.keys().next().value))
  }

  /** All who ask while one exchange runs share the next: a Redis that does not answer is not asked again meanwhile. */
  async function ask (): Promise<void> {
    next ??= exchanges.take(async () => {
      next = undefined
      await askUntilDone()
      isReached = true
    })
    await next.catch((cause: unknown) => { throw guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'blocks-error', cause }) })
  }

  async function askUntilDone (): Promise<void> {
    for (;;) {
      const written = [...outbox.values()].slice(0, maxWritten)
      const news = await exchange({ blocks: written, since })
      for (const sealed of written) if (outbox.get(sealed.principal) === sealed) outbox.delete(sealed.principal)
      const isAnew = news.generation !== generation
      generation = news.generation
      since = isAnew ? 0 : news.told
      if (isAnew) local.list().forEach(put)
      else news.texts.forEach(takeIn)
      if (!isAnew && news.told === news.sequence && outbox.size === 0) return
    }
  }

  function takeIn (text: string): void {
    const block = opened(text)
    if (block === undefined) {
      onError(guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'block-forged' }))
      return
    }
    const known = local.find(block.principal)
    // Another node, which had not heard of it, has written over it.
    if (!local.hear(block) && known !== undefined && isNewer(known, block)) put(known)
  }

  function opened (text: string): Block | undefined {
    try {
      return readBlock(seal.open('record', text), 'block')
    } catch {
      // No work of this seal.
      return undefined
    }
  }

  function tellOnce (error: unknown): void {
    if (isReached) onError(error)
    isReached = false
  }

  async function inTime (work: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => { reject(guardError('FMG_ERR_LIMITER_UNAVAILABLE', { reason: 'blocks-timeout' })) }, timeoutMs)
    })
    await Promise.race([work, late]).finally(() => { clearTimeout(timer) })
  }
}
