import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { leaseCounts } from '../../src/limits/lease-counts.ts'
import { memoryConcurrency } from '../../src/limits/memory-concurrency.ts'
import { concurrencySuite, slot, slotRequest, takeAll } from './concurrency-suite.ts'

t.test('memory', async (t) => {
  concurrencySuite(t, memoryConcurrency, 1000)
})

t.test('it answers at once', async (t) => {
  t.match(memoryConcurrency().acquire(slotRequest()), { allowed: true })
})

t.test('what is over is forgotten', async (t) => {
  const counts = leaseCounts()
  const lease = { id: '1', group: 'acme', keys: ['ann', 'fraud'] }
  const other = { id: '2', group: 'acme', keys: ['ann'] }
  counts.add(lease)
  counts.add(other)
  t.same([counts.of('acme', 'ann'), counts.of('acme', 'fraud'), counts.of('acm', 'eann')], [2, 1, 0])
  t.ok(counts.remove(lease))
  t.notOk(counts.remove(lease))
  t.same([counts.of('acme', 'ann'), counts.of('acme', 'fraud'), counts.has(lease), counts.has(other)], [1, 0, false, true])
  counts.remove(other)
  t.notOk(counts.remove(other))
  t.equal(counts.groups.size, 0)
})

t.test('any number of strangers leave nothing behind', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const store = memoryConcurrency()
  collect()
  const before = process.memoryUsage().heapUsed
  for (let index = 0; index < 200_000; index++) {
    const outcome = store.acquire(slotRequest([slot(`stranger-${index}`, 1)], `org-${index}`))
    if (outcome.allowed) store.release(outcome.lease)
  }
  collect()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(grown < 2_000_000, `${grown} bytes`)
  t.equal((await takeAll(store)).length, 2)
})
