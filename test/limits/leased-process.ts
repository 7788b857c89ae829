// A node of a fleet that leases: `fork`ed with the address of Redis. At each message it asks as often as that says, so many at once, and tells
// how often it was allowed.
import { Redis } from 'ioredis'
import { leasedLimiter } from '../../src/limits/leased-limiter.ts'
import type { LimitRequest } from '../../src/limits/limiter.ts'
import { redisLimiter } from '../../src/limits/redis-limiter.ts'
import type { Window } from '../../src/limits/windows.ts'

/** What a node is told. */
export interface LeasedLoad {
  readonly key: string
  readonly sharer: string
  readonly quota: number
  readonly share?: { readonly quota: number, readonly principals: number }
  readonly times: number
  readonly together: number
}

const [address = ''] = process.argv.slice(2)
const client = new Redis(address)
// The machine may be busy with other tests: what is counted here are units, not milliseconds.
const limiter = redisLimiter({ client, timeoutMs: 20_000 })

process.on('message', (load: LeasedLoad) => { void ask(load).then((allowed) => { process.send?.(allowed) }) })
process.once('disconnect', () => { client.disconnect() })
process.send?.('ready')

async function ask ({ key, sharer, quota, share, times, together }: LeasedLoad): Promise<number> {
  const leased = leasedLimiter({ limiter, maxUnits: 50 })
  const windows: readonly Window[] = [{ name: 'hour', quota, windowSeconds: 3600, ...share !== undefined && { share } }]
  const request: LimitRequest = { group: 'acme', budgets: [{ key, windows, sharer }], cost: 1 }
  let allowed = 0
  let left = times
  const caller = async (): Promise<void> => {
    while (left-- > 0) if ((await leased.consume(request)).allowed) allowed++
  }
  await Promise.all(Array.from({ length: together }, caller))
  await leased.close()
  return allowed
}
