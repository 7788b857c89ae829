// A node of a fleet: `fork`ed with the key prefix, it asks 500 times at once and tells how often it was allowed.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import { redisUrl } from '../helpers/redis.ts'

const client = new Redis(redisUrl())
// The machine may be busy with other tests: what is counted here are units, not milliseconds.
const limiter = redisLimiter({ client, prefix: process.argv[2] ?? '', timeoutMs: 20_000 })
const windows = [{ name: 'shared', quota: 1000, windowSeconds: 3600 }, { name: 'wide', quota: 5000, windowSeconds: 60 }]

process.send?.('ready')
await once(process, 'message')
const outcomes = await Promise.all(Array.from({ length: 500 }, () => limiter.consume({ group: 'acme', budgets: [{ key: 'shared', windows }], cost: 1 })))
process.send?.(outcomes.filter(({ allowed }) => allowed).length)
client.disconnect()
process.disconnect()
