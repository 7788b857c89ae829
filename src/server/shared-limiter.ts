import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { AuditLog } from '../audit/log.ts'
import { guardError, isGuardError } from '../errors.ts'
import type { Concurrency } from '../limits/concurrency.ts'
import type { Limiter } from '../limits/limiter.ts'
import { leasedLimiter } from '../limits/leased-limiter.ts'
import { liveNodes } from '../limits/live-nodes.ts'
import { redisConcurrency } from '../limits/redis-concurrency.ts'
import { redisLimiter } from '../limits/redis-limiter.ts'
import { resilientLimiter, type ModeChange } from '../limits/resilient-limiter.ts'
import type { RedisLike } from '../limits/run-script.ts'
import type { ServerConfig, ServerLimits } from './config.ts'
import { connectRedis } from './connect-redis.ts'
import type { RedisPlace } from './redis-place.ts'

/** What counts for all nodes together. */
export interface SharedLimits {
  readonly limiter: Limiter
  readonly concurrency: Concurrency
}

/**
 * Limits in the Redis at this place, whose connection ends with the server.
 * @param onModeChange told when they are decided without it, and when with it again.
 * @throws FMG_ERR_OPTION_INVALID when ioredis is not installed.
 * @throws FMG_ERR_LIMITER_UNAVAILABLE when Redis cannot be reached and every tier denies without it: a mistyped address is told at once.
 */
export async function sharedLimits (app: FastifyInstance, place: RedisPlace, { limits: { tiers, leases } }: ServerConfig, onModeChange: (change: ModeChange) => void): Promise<SharedLimits> {
  const client = await connectRedis(place, 'fail', (error) => { app.log.error({ err: error }, 'Redis') })
  app.addHook('onClose', async () => { client.disconnect() })
  try {
    await client.connect()
  } catch (cause) {
    const mayServe = Object.values(tiers).some(({ windows, concurrency = { whenUnavailable: 'allow' } }) =>
      [...windows, concurrency].every(({ whenUnavailable = 'deny' }) => whenUnavailable !== 'deny'))
    if (!mayServe) {
      client.disconnect()
      throw guardError('FMG_ERR_LIMITER_UNAVAILABLE', { cause })
    }
    app.log.error({ err: cause }, 'this node starts without Redis: it enforces no part of a limit until it was known to the others')
  }
  const nodes = liveNodes({ client })
  const limiter = resilientLimiter({ limiter: countedBy(app, client, place, leases), nodes, onModeChange })
  const concurrency = redisConcurrency({ client, nodes })
  app.addHook('onClose', async () => {
    limiter.stop()
    concurrency.stop()
    nodes.stop()
  })
  return { limiter, concurrency }
}

/** Counts for all nodes: each decision by itself, or by leases, which are given back while there is still a connection. */
function countedBy (app: FastifyInstance, client: RedisLike, place: RedisPlace, leases: ServerLimits['leases']): Limiter {
  const limiter = redisLimiter({ client, together: typeof place === 'object' && 'cluster' in place ? 'group' : 'all' })
  if (leases === undefined) return limiter
  const leased = leasedLimiter({ limiter, ...leases })
  app.addHook('onClose', async () => { await leased.close() })
  return leased
}

/** Leaves a record and a log line of each change of who decides about limits. */
export function recordModeChange (log: AuditLog, logger: FastifyBaseLogger, { before, mode, cause }: ModeChange): void {
  if (mode === 'outage') logger.error({ err: cause, before, mode }, 'limits are decided without Redis')
  else logger.warn({ before, mode }, mode === 'shared' ? 'limits are decided in Redis' : 'limits are decided in Redis, once it was told what was spent without it')
  log.append({ timestamp: new Date().toISOString(), action: 'limits:mode', status: 'success', ...isGuardError(cause) && cause.reason !== undefined && { reason: cause.reason }, detail: { before, after: mode } }, (error) => {
    if (error !== null) logger.error({ err: error, before, mode }, 'a change of who decides about limits is not recorded')
  })
}
