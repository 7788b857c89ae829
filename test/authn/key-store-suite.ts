import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { apiKey } from '../../src/authn/api-key.ts'
import { createApiKey, type CreatedApiKey } from '../../src/authn/create-api-key.ts'
import type { SealedBook } from '../../src/books/sealed-book.ts'
import { listApiKeys } from '../../src/authn/key-record.ts'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { rotateApiKey } from '../../src/authn/rotate-api-key.ts'
import { requestFacts } from '../helpers/facts.ts'
import { until } from '../helpers/until.ts'

/** How a node opens a store. */
export interface NodeOptions {
  readonly pepper?: Uint8Array
  readonly epoch?: number
  readonly onError?: (error: unknown) => void
}

/** A place where keys are kept, empty at first. */
export interface TestedPlace {
  /** Opens it as one more node; closed with the test. */
  readonly open: (options?: NodeOptions) => Promise<KeyStore>
  /** What is kept there, as whoever can write there sees it. */
  readonly read: () => Promise<SealedBook>
  /** Writes there without the pepper. */
  readonly write: (sealed: SealedBook) => Promise<void>
}

export const pepper = randomBytes(32)
const principal = { id: 'ann', tier: 'pro', roles: ['analyst'] }

/** A key of `ann`. */
export async function createKey (store: KeyStore): Promise<CreatedApiKey> {
  return await createApiKey(store, pepper, { principal })
}

/** What a store that is closed with the test was told of. */
export function noteReasons (): { readonly reasons: unknown[], readonly onError: (error: unknown) => void } {
  const reasons: unknown[] = []
  return { reasons, onError: (error) => { reasons.push(Reflect.get(Object(error), 'reason')) } }
}

/** What every key store must do. @param place gives a fresh one each time. */
export function keyStoreSuite (t: Test, place: (t: Test) => TestedPlace): void {
  const replaced = ({ head, texts }: SealedBook, keyId: string, change: (text: string) => string): SealedBook =>
    ({ head, texts: new Map(texts).set(keyId, change(texts.get(keyId) ?? '')) })

  t.test('a record is found again by another node, and what is not there is not', async (t) => {
    const { open } = place(t)
    const { keyId } = await createKey(await open())
    const store = await open()
    t.match(await store.find(keyId), { keyId, version: 1, principal })
    t.match(await store.list(), [{ keyId }])
    for (const unknown of ['constructor', 'nobodynobody', '']) {
      t.equal(await store.find(unknown), null)
      t.equal(store.recall?.(unknown), null)
    }
    t.equal(await revokeApiKey(store, 'nobodynobody'), false)
  })

  t.test('a record is the same object until it is changed, by whichever node', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    const { keyId } = await createKey(here)
    await until(() => there.recall?.(keyId) !== null)
    const record = there.recall?.(keyId)
    const { keyId: another } = await createKey(here)
    await until(() => there.recall?.(another) !== null)
    t.equal(there.recall?.(keyId), record)
    t.equal(await there.find(keyId), record)
    t.ok(await revokeApiKey(here, keyId, 7))
    await until(() => there.recall?.(keyId) !== record)
    t.match(there.recall?.(keyId), { revokedAt: 7, version: 2 })
    t.ok(await revokeApiKey(there, keyId, 9))
    t.match(await there.find(keyId), { revokedAt: 7, version: 2 }, 'the first revocation counts')
  })

  t.test('who wants to know is told of every change, by whichever node, and of no other', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    await createKey(here)
    await there.list()
    const told: string[] = []
    there.whenChanged?.(({ before, after }) => { told.push(`${after.keyId} ${before?.version ?? 0} ${after.version} ${after.approval?.approvedBy ?? '-'}`) })
    const { keyId } = await createKey(there)
    await rotateApiKey(here, pepper, keyId, { approval: { requestedBy: 'ann', approvedBy: 'bob' } })
    await until(() => told.length > 1)
    await revokeApiKey(here, keyId, 7)
    await until(() => told.length > 2)
    t.same(told, [`${keyId} 0 1 -`, `${keyId} 1 2 bob`, `${keyId} 2 3 -`])
  })

  t.test('a change starts from what another node wrote last', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    const { keyId } = await createKey(here)
    t.match(await there.update(keyId, (record) => ({ ...record, label: 'there' })), { label: 'there', version: 2 })
    t.match(await here.update(keyId, (record) => ({ ...record, keyId: 'othersothers', version: 9 })), { keyId, label: 'there', version: 3 }, 'id and version are not the change\'s')
    t.equal(await here.update(keyId, () => null), null)
    const record = await here.find(keyId)
    if (record === null) throw new Error('there is no key')
    await t.rejects(there.add(record), { code: 'FMG_ERR_OPTION_INVALID' }, 'an id is given once')
    await t.rejects(there.update(keyId, (known) => ({ ...known, expiresAt: -1 })), { code: 'FMG_ERR_OPTION_INVALID' })
  })

  t.test('writers at once lose nothing', async (t) => {
    const { open } = place(t)
    const stores = [await open(), await open()]
    const made = await Promise.all(stores.flatMap((store) => Array.from({ length: 5 }, async () => await createKey(store))))
    const fresh = await open()
    t.same((await fresh.list()).map(({ keyId }) => keyId).sort(), made.map(({ keyId }) => keyId).sort())
  })

  t.test('a rotated key passes with both secrets on every node', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    const { key, keyId } = await createKey(here)
    const rotated = await rotateApiKey(there, pepper, keyId)
    for (const store of [there, await open()]) {
      for (const value of [key, rotated?.key ?? '']) t.match(await apiKey({ store, pepper }).authenticate({ scheme: 'x-api-key', value }, requestFacts()), { id: 'ann' })
    }
  })

  t.test('a record with a raised role is refused and told of, the others are served', async (t) => {
    const { open, read, write } = place(t)
    const store = await open()
    const [forged, good] = [await createKey(store), await createKey(store)]
    await write(replaced(await read(), forged.keyId, (text) => text.replace('analyst', 'admin')))
    const { reasons, onError } = noteReasons()
    const node = await open({ onError })
    t.same(reasons, ['key-store-record-forged'])
    t.equal(node.recall?.(forged.keyId), null)
    const authenticator = apiKey({ store: node, pepper })
    await t.rejects(Promise.resolve(authenticator.authenticate({ scheme: 'x-api-key', value: forged.key }, requestFacts())), { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'api-key-record-forged' })
    t.ok(await authenticator.authenticate({ scheme: 'x-api-key', value: good.key }, requestFacts()))
    t.equal(await node.update(forged.keyId, (record) => ({ ...record, label: 'mine' })), null)
    t.ok(await revokeApiKey(node, good.keyId), 'the others can still be changed')
    t.same(reasons, ['key-store-record-forged'], 'it is told of once')
  })

  t.test('a record in the place of another key, or that is no record, is forged', async (t) => {
    const { open, read, write } = place(t)
    const store = await open()
    const [one, other] = [await createKey(store), await createKey(store)]
    const before = await read()
    for (const text of [before.texts.get(other.keyId) ?? '', '{"version":1}', '{"content":{"version":1},"mac":"00"}', '[{"version":1}]']) {
      await write(replaced(before, one.keyId, () => text))
      const node = await open({ onError: () => undefined })
      t.equal(node.recall?.(one.keyId), null)
      t.throws(() => node.find(one.keyId), { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'api-key-record-forged' })
    }
  })

  t.test('a store in which a revoked key is put back, or a record missing, does not open', async (t) => {
    const { open, read, write } = place(t)
    const store = await open()
    const { keyId } = await createKey(store)
    await createKey(store)
    const before = await read()
    await revokeApiKey(store, keyId)
    const revoked = await read()
    const untrusted = { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'key-store-forged' }
    const without = new Map(revoked.texts)
    without.delete(keyId)
    for (const texts of [before.texts, without, new Map()]) {
      await write({ head: revoked.head, texts })
      await t.rejects(open(), untrusted)
    }
    await write({ head: before.head, texts: revoked.texts })
    await t.rejects(open(), untrusted, 'the head of then does not know of the revocation')
    await write(replaced(revoked, keyId, () => '{}'))
    await t.rejects(open(), untrusted, 'a record without a version might be an older one')
    await write({ head: revoked.head.replace('"sequence":3', '"sequence":4'), texts: revoked.texts })
    await t.rejects(open(), untrusted)
    await write(revoked)
    t.ok(await open())
  })

  t.test('records of another pepper or another epoch are not known', async (t) => {
    const { open } = place(t)
    await createKey(await open({ epoch: 1 }))
    for (const options of [{ epoch: 2 }, {}, { epoch: 1, pepper: randomBytes(32) }]) await t.rejects(open(options), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'key-store-forged' })
    t.ok(await open({ epoch: 1 }))
    await t.rejects(open({ pepper: randomBytes(31) }), { code: 'FMG_ERR_OPTION_INVALID' })
  })

  t.test('a node that runs notices a whole store put back, and goes on without it', async (t) => {
    const { open, read, write } = place(t)
    const { reasons, onError } = noteReasons()
    const store = await open({ onError })
    const { keyId } = await createKey(store)
    const before = await read()
    await revokeApiKey(store, keyId, 7)
    await write(before)
    await until(() => reasons.includes('key-store-rolled-back'))
    t.match(await store.find(keyId), { revokedAt: 7 })
    await t.rejects(store.update(keyId, (record) => ({ ...record, label: 'changed' })), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'key-store-rolled-back' })
  })

  t.test('when a key was last used is known to all nodes', async (t) => {
    const { open } = place(t)
    const [here, there] = [await open(), await open()]
    t.same(await here.lastUses?.(), new Map())
    here.noteUse?.('one', 1)
    here.noteUse?.('two', 2)
    await here.lastUses?.()
    there.noteUse?.('one', 3)
    t.same(await there.lastUses?.(), new Map([['one', 3], ['two', 2]]))
    const { keyId } = await createKey(here)
    here.noteUse?.(keyId, 3_600_000)
    t.match(await listApiKeys(here), [{ keyId, state: 'good', lastUsedAt: '1970-01-01T01:00:00.000Z' }])
  })
}
