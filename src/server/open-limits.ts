import type { FastifyInstance } from 'fastify'
import type { Blocks } from '../limits/blocks.ts'
import type { Exceptions } from '../limits/exceptions.ts'
import { fileExceptions } from '../limits/file-exceptions.ts'
import { memoryBlocks } from '../limits/memory-blocks.ts'
import { redisBlocks } from '../limits/redis-blocks.ts'
import { redisExceptions } from '../limits/redis-exceptions.ts'
import type { ServerConfig } from './config.ts'
import { connectRedis } from './connect-redis.ts'
import type { DataFolder } from './data-folder.ts'

/** What operators change about limits while a server runs. */
export interface OperatorLimits {
  readonly blocks: Blocks
  readonly exceptions: Exceptions
}

/**
 * Opens who is blocked and who has other limits: where API keys are shared by nodes, in their Redis; else exceptions are in a file of the
 * data folder, and blocks in memory. Closed with the server.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached, or when the exceptions are not what was written; FMG_ERR_FILE.
 */
export async function openLimits (app: FastifyInstance, config: ServerConfig, data: DataFolder, pepper: Uint8Array): Promise<OperatorLimits> {
  const { redis, keys, limits: { tiers, defaultTier, approval } } = config
  const onError = (error: unknown): void => { app.log.error({ err: error }, 'blocks and exceptions') }
  const shared = { pepper, approval, onError, tiers: { tiers, defaultTier } }
  if (keys.store === 'file' || redis === undefined) {
    const exceptions = await fileExceptions({ ...shared, file: data.exceptions })
    app.addHook('onClose', async () => { await exceptions.close() })
    return { blocks: memoryBlocks(), exceptions }
  }
  const client = await connectRedis(redis, 'wait')
  // Hooks of this kind run from the last to the first: what uses it is closed before.
  app.addHook('onClose', async () => { client.disconnect() })
  const exceptions = await redisExceptions({ ...shared, client })
  app.addHook('onClose', async () => { await exceptions.close() })
  const blocks = await redisBlocks({ client, pepper, onError })
  app.addHook('onClose', async () => { await blocks.close() })
  return { blocks, exceptions }
}
