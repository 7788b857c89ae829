// A node of a fleet, `fork`ed with the key prefix and what to do. `hold`: takes every slot, says how many, and keeps them. `leave`: the same, and ends. `work`: 300 requests
// at once, each in flight for one round trip; says how many had a slot, and how many were in flight at most, of all nodes.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { redisConcurrency } from '../../src/limits/redis-concurrency.ts'
import { redisUrl } from '../helpers/redis.ts'
import { slotRequest, takeAll, slot } from './concurrency-suite.ts'

const [, , prefix = '', task] = process.argv
const client = new Redis(redisUrl())
const store = redisConcurrency({ client, prefix, timeoutMs: 20_000 })
const request = slotRequest([slot('ann', 20), slot('fraud', 25)])

/** Whether it had a slot, and how many had one while it did. */
async function beInFlight (): Promise<number> {
  const outcome = await store.acquire(request)
  if (!outcome.allowed) return 0
  const inFlight = await client.incr(`${prefix}in-flight`)
  await client.decr(`${prefix}in-flight`)
  store.release(outcome.lease)
  return inFlight
}

if (task !== 'work') {
  process.send?.((await takeAll(store, request)).length)
  if (task === 'leave') {
    client.disconnect()
    process.disconnect()
  }
} else {
  process.send?.('ready')
  await once(process, 'message')
  const seen = await Promise.all(Array.from({ length: 300 }, beInFlight))
  process.send?.({ given: seen.filter((inFlight) => inFlight > 0).length, most: Math.max(...seen) })
  // What was released last is still on its way.
  await client.ping()
  client.disconnect()
  process.disconnect()
}
