// A node of a fleet: `fork`ed with the key prefix and the addresses of Redis, one or a cluster's. At each message, which names a budget, it asks
// 2,500 times at once, and tells how often it was allowed.
import { Cluster, Redis } from 'ioredis'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { RedisLike } from '../../src/limits/run-script.ts'

const [prefix = '', ...addresses] = process.argv.slice(2)
const [only = ''] = addresses
const connection = addresses.length === 1 ? new Redis(only) : new Cluster(addresses.map((address) => ({ host: '127.0.0.1', port: Number(address.split(':')[1]) })))
const client: RedisLike = { call: async (command, ...args) => await connection.call(command, ...args) }
// The machine may be busy with other tests: what is counted here are units, not milliseconds.
const limiter = redisLimiter({ client, prefix, timeoutMs: 20_000 })
const windows = [{ name: 'hour', quota: 1000, windowSeconds: 3600 }, { name: 'wide', quota: 5000, windowSeconds: 60 }, { name: 'month', quota: 1500, per: 'month' as const }]

process.on('message', (key) => {
  const asked = Array.from({ length: 2500 }, async () => await limiter.consume({ group: 'acme', budgets: [{ key: String(key), windows }, { key: `org of ${String(key)}`, windows }], cost: 1 }))
  void Promise.all(asked).then((outcomes) => { process.send?.(outcomes.filter(({ allowed }) => allowed).length) })
})
process.once('disconnect', () => { connection.disconnect() })
process.send?.('ready')
