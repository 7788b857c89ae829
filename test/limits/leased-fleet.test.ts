import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import { connectRedis } from '../helpers/redis.ts'
import type { LeasedLoad } from './leased-process.ts'

const nodes = 4
/** What each may hold. */
const maxUnits = 50

interface Fleet {
  /** How often each node was allowed. */
  readonly ask: (load: Omit<LeasedLoad, 'sharer'>) => Promise<readonly number[]>
  /** Decisions that Redis was asked for since it began. */
  readonly commands: () => Promise<number>
}

async function fleet (t: Test): Promise<Fleet> {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const client = connectRedis(t, redis.url)
  const children = Array.from({ length: nodes }, () => fork(fileURLToPath(new URL('leased-process.js', import.meta.url)), [redis.url]))
  t.teardown(() => { for (const child of children) child.disconnect() })
  await Promise.all(children.map(async (child) => { await once(child, 'message') }))
  const tell = async (child: ChildProcess, load: LeasedLoad): Promise<number> => {
    const answer = once(child, 'message')
    child.send(load)
    return Number((await answer)[0])
  }
  return {
    ask: async (load) => await Promise.all(children.map(async (child, index) => await tell(child, { ...load, sharer: `principal ${index}` }))),
    commands: async () => [...(await client.info('commandstats')).matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0)
  }
}

t.test('four processes that lease and ask 10,000 times are admitted the limit, and what they may hold, at most', async (t) => {
  const { ask } = await fleet(t)
  for (let time = 0; time < 5; time++) {
    const admitted = (await ask({ key: `budget ${time}`, quota: 1000, times: 2500, together: 2500 })).reduce((sum, count) => sum + count)
    t.ok(admitted <= 1000 + nodes * maxUnits && admitted >= 1000 - nodes * maxUnits, `${admitted}`)
  }
})

t.test('so they are from a window with shares, and each has its share', async (t) => {
  const { ask } = await fleet(t)
  for (let time = 0; time < 5; time++) {
    const admitted = await ask({ key: `org ${time}`, quota: 1000, share: { quota: 60, principals: 10 }, times: 2500, together: 50 })
    const total = admitted.reduce((sum, count) => sum + count)
    t.ok(total <= 1000 + nodes * maxUnits && total <= 4 * 60 + 400 + nodes * maxUnits, `${total}: four shares, and what no share keeps`)
    for (const count of admitted) t.ok(count >= 60, `${count}`)
  }
})

t.test('a hot identity costs at most one command in fifty requests, with its leases given back', async (t) => {
  const { ask, commands } = await fleet(t)
  const admitted = (await ask({ key: 'hot', quota: 100_000_000, times: 25_000, together: 50 })).reduce((sum, count) => sum + count)
  t.equal(admitted, nodes * 25_000)
  const each = await commands() / admitted
  t.ok(each > 0.001 && each <= 0.0225, `${each} commands a request`)
})
