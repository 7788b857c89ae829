import t from 'tap'
import { acquireAll } from '../../src/limits/acquire-all.ts'
import type { Concurrency } from '../../src/limits/concurrency.ts'
import { memoryConcurrency } from '../../src/limits/memory-concurrency.ts'
import { slot, slotRequest, takeAll } from './concurrency-suite.ts'

const own = slotRequest([slot('ann', 1)])
const shared = slotRequest([slot('everybody', 1)], 'model:fraud')

/** The same, after a turn. */
function later (store: Concurrency): Concurrency {
  return { acquire: async (request) => await store.acquire(request), release: (lease) => { store.release(lease) } }
}

for (const [kind, wrap] of [['at once', (store: Concurrency) => store], ['later', later]] as const) {
  t.test(`slots of two groups are taken both, or none: a store that answers ${kind}`, async (t) => {
    const memory = memoryConcurrency()
    const store = wrap(memory)
    const outcome = await acquireAll(store, [own, shared])
    t.match(outcome, { allowed: true, leases: [{ group: 'acme' }, { group: 'model:fraud' }] })
    t.match(await acquireAll(store, [slotRequest([slot('bob', 1)]), shared]), { allowed: false, limit: { name: 'everybody' } })
    t.equal((await takeAll(memory, slotRequest([slot('bob', 1)]))).length, 1, 'what the first gave is given back')
    t.match(await acquireAll(store, [own, slotRequest([slot('other', 1)], 'model:other')]), { allowed: false, limit: { name: 'ann' } })
    t.equal((await takeAll(memory, slotRequest([slot('other', 1)], 'model:other'))).length, 1, 'the second was not asked')
    if (outcome.allowed) for (const lease of outcome.leases) store.release(lease)
    t.match(await acquireAll(store, [own, shared]), { allowed: true })
  })

  t.test(`one question is enough where there is one: a store that answers ${kind}`, async (t) => {
    const store = wrap(memoryConcurrency())
    t.match(await acquireAll(store, [own]), { allowed: true, leases: [{ group: 'acme' }] })
    t.match(await acquireAll(store, [own]), { allowed: false })
  })
}

for (const [kind, fail] of [['at once', () => { throw new Error('no connection') }], ['later', async () => { throw new Error('no connection') }]] as const) {
  t.test(`what the first gave is given back when the second fails ${kind}`, async (t) => {
    const memory = memoryConcurrency()
    const store: Concurrency = {
      acquire: (request) => request === shared ? fail() : memory.acquire(request),
      release: (lease) => { memory.release(lease) }
    }
    await t.rejects(async () => { await acquireAll(store, [own, shared]) }, { message: 'no connection' })
    t.equal((await takeAll(memory, own)).length, 1)
  })
}
