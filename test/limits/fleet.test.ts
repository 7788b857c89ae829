import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startRedisCluster } from '../../scripts/redis.js'
import { memoryLimiter } from '../../src/limits/memory-limiter.ts'
import { keyPrefix, redisUrl } from '../helpers/redis.ts'
import { hour, limitRequest } from './limiter-suite.ts'

/** Asks ten times 10,000 times by four processes. @returns how many were admitted each time. */
async function tenTimes (t: Test, addresses: readonly string[]): Promise<number[]> {
  const nodes = Array.from({ length: 4 }, () => fork(fileURLToPath(new URL('limiter-process.js', import.meta.url)), [`${keyPrefix}fleet:`, ...addresses]))
  t.teardown(() => { for (const node of nodes) node.disconnect() })
  await Promise.all(nodes.map(async (node) => { await once(node, 'message') }))
  const admitted: number[] = []
  for (let time = 0; time < 10; time++) {
    const counts = await Promise.all(nodes.map(async (node) => {
      const answer = once(node, 'message')
      node.send(`budget ${time}`)
      return Number((await answer)[0])
    }))
    admitted.push(counts.reduce((sum, count) => sum + count))
  }
  return admitted
}

const exactly = Array.from({ length: 10 }, () => 1000)

t.test('four processes that ask 10,000 times at once are admitted exactly 1,000 times, ten times in a row', async (t) => {
  t.same(await tenTimes(t, [redisUrl()]), exactly)
})

t.test('so they are by a cluster of three', async (t) => {
  const cluster = await startRedisCluster()
  t.teardown(cluster.stop)
  t.same(await tenTimes(t, cluster.addresses), exactly)
})

t.test('so is one process by its memory', async (t) => {
  const limiter = memoryLimiter()
  const windows = [{ ...hour, quota: 1000 }]
  for (let time = 0; time < 10; time++) {
    const outcomes = await Promise.all(Array.from({ length: 10_000 }, async () => limiter.consume(limitRequest({ key: `budget ${time}`, windows }))))
    t.equal(outcomes.filter(({ allowed }) => allowed).length, 1000)
  }
})
