import fc from 'fast-check'
import type { Test } from 'tap'
import type { WhenUnavailable } from '../../src/limits/windows.ts'
import type { Concurrency, Lease, Slot, SlotOutcome, SlotRequest } from '../../src/limits/concurrency.ts'

/** A slot of one of `max`; the limit is named like its key. */
export function slot (key: string, max: number, whenUnavailable?: WhenUnavailable): Slot {
  return { key, limit: { name: key, max, ...whenUnavailable !== undefined && { whenUnavailable } } }
}

/** A request of acme's for these, for one of ann's two where nothing else is said. */
export function slotRequest (slots: readonly Slot[] = [slot('ann', 2)], group = 'acme'): SlotRequest {
  return { group, slots }
}

/** The lease that was given. */
export function leaseOf (outcome: SlotOutcome): Lease {
  if (!outcome.allowed) throw new Error(`no slot: ${outcome.limit.name}`)
  return outcome.lease
}

/** How many can be had one after the other. */
export async function takeAll (store: Concurrency, request = slotRequest()): Promise<Lease[]> {
  const leases: Lease[] = []
  for (let outcome = await store.acquire(request); outcome.allowed; outcome = await store.acquire(request)) leases.push(outcome.lease)
  return leases
}

/** What every store of slots must do. @param open gives a fresh one each time. */
export function concurrencySuite (t: Test, open: () => Concurrency, numRuns: number): void {
  t.test('as many are in flight as there are slots, and not one more', async (t) => {
    const store = open()
    t.equal((await takeAll(store)).length, 2)
    t.same(await store.acquire(slotRequest()), { allowed: false, limit: { name: 'ann', max: 2 } })
  })

  t.test('a slot that is released can be had again, once', async (t) => {
    const store = open()
    const [lease] = await takeAll(store)
    if (lease === undefined) throw new Error('no lease')
    store.release(lease)
    store.release(lease)
    t.equal((await takeAll(store)).length, 1)
    store.release(lease)
    t.equal((await takeAll(store)).length, 0, 'nor later')
  })

  t.test('of the slots of one request all are taken, or none', async (t) => {
    const store = open()
    const both = slotRequest([slot('ann', 2), slot('fraud', 1)])
    const lease = leaseOf(await store.acquire(both))
    t.match(await store.acquire(both), { allowed: false, limit: { name: 'fraud' } })
    const other = await takeAll(store)
    t.equal(other.length, 1, 'what was refused took nothing of the first')
    t.match(await store.acquire(both), { allowed: false, limit: { name: 'ann' } }, 'the first that is full is named')
    store.release(lease)
    t.match(await store.acquire(both), { allowed: true }, 'and all are free again')
  })

  t.test('another maximum counts what is in flight under the old one', async (t) => {
    const store = open()
    const [lease] = await takeAll(store)
    t.match(await store.acquire(slotRequest([slot('ann', 1)])), { allowed: false, limit: { max: 1 } })
    if (lease !== undefined) store.release(lease)
    t.match(await store.acquire(slotRequest([slot('ann', 1)])), { allowed: false })
    t.equal((await takeAll(store, slotRequest([slot('ann', 4)]))).length, 3)
  })

  t.test('slots of other keys and groups are apart, however they are named', async (t) => {
    const store = open()
    const names = ['a', 'b', 'ab', '', 'a}:b', '{a', 'a\n', '\ud800', '\udc00', '__proto__', 'x'.repeat(300), `${'x'.repeat(299)}y`]
    for (const group of names) for (const key of names) t.equal((await takeAll(store, slotRequest([slot(key, 1)], group))).length, 1, JSON.stringify({ group, key }))
  })

  t.test('asked at once, no more are given than there are', async (t) => {
    const store = open()
    const requests = Array.from({ length: 1200 }, () => slotRequest([slot('ann', 700), slot('fraud', 1000)]))
    const outcomes = await Promise.all(requests.map(async (request) => await store.acquire(request)))
    t.equal(outcomes.filter(({ allowed }) => allowed).length, 700)
    for (const outcome of outcomes) if (outcome.allowed) store.release(outcome.lease)
    t.equal((await takeAll(store)).length, 2)
  })

  t.test('what cannot be counted is refused as an option and takes nothing', async (t) => {
    const store = open()
    for (const max of [0, -1, 1.5, NaN, Infinity]) {
      await t.rejects(async () => { await store.acquire(slotRequest([slot('ann', max)])) }, { code: 'FMG_ERR_OPTION_INVALID', message: /max/ })
    }
    for (const slots of [[], [slot('ann', 1), slot('ann', 2)]]) {
      await t.rejects(async () => { await store.acquire(slotRequest(slots)) }, { code: 'FMG_ERR_OPTION_INVALID', message: /slots/ })
    }
    t.equal((await takeAll(store)).length, 2)
  })

  t.test('whatever is taken and released, it gives exactly what a list of those in flight would give', async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const store = open()
      let inFlight: { readonly keys: readonly string[], readonly lease: Lease }[] = []
      for (const { slots, released } of steps) {
        const fits = slots.every(({ key, limit }) => inFlight.filter(({ keys }) => keys.includes(key)).length < limit.max)
        const outcome = await store.acquire(slotRequest(slots))
        if (outcome.allowed !== fits) throw new Error(fits ? 'refused a free slot' : 'gave a slot that was taken')
        if (outcome.allowed) inFlight.push({ keys: slots.map(({ key }) => key), lease: outcome.lease })
        const over = inFlight.filter((_, index) => index % 4 === released)
        for (const { lease } of over) store.release(lease)
        inFlight = inFlight.filter((one) => !over.includes(one))
      }
    }), { numRuns })
  })
}

const slots = fc.uniqueArray(fc.record({ key: fc.constantFrom('a', 'b', 'c'), max: fc.integer({ min: 1, max: 4 }) }), { minLength: 1, maxLength: 3, selector: ({ key }) => key })
  .map((wanted) => wanted.map(({ key, max }) => slot(key, max)))

const step = fc.record({ slots, released: fc.integer({ min: 0, max: 7 }) })
