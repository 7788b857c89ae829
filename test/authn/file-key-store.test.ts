import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rename, rmdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { canonicalJson } from '../../src/encoding.ts'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { lockFile } from '../../src/files.ts'
import { until } from '../helpers/until.ts'
import { createKey, keyStoreSuite, noteReasons, pepper, type TestedPlace } from './key-store-suite.ts'

function filePlace (t: Test): TestedPlace {
  const file = path.join(t.testdir(), 'store', 'keys.json')
  return {
    async open (options = {}) {
      const store = await fileKeyStore({ file, pepper, onError: () => undefined, ...options })
      t.teardown(() => store.close())
      return store
    },
    async read () {
      const { head, keys } = JSON.parse(await readFile(file, 'utf8')) as { head: object, keys: Record<string, object> }
      return { head: canonicalJson(head), texts: new Map(Object.entries(keys).map(([keyId, sealed]) => [keyId, canonicalJson(sealed)])) }
    },
    async write ({ head, texts }) {
      const lines = [...texts].map(([keyId, text]) => `${JSON.stringify(keyId)}:${text}`)
      await writeFile(file, `{"version":"2","head":${head},"keys":{${lines.join(',')}}}`)
    }
  }
}

t.test('the file store', async (t) => { keyStoreSuite(t, filePlace) })

t.test('what only its owner may read is read only by its owner', async (t) => {
  const file = path.join(t.testdir(), 'store', 'keys.json')
  const store = await fileKeyStore({ file, pepper })
  await createKey(store)
  store.noteUse?.('one', 1)
  await store.close()
  t.equal((await stat(path.dirname(file))).mode & 0o777, 0o700)
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.equal((await stat(`${file}.uses`)).mode & 0o777, 0o600)
  await chmod(file, 0o644)
  await t.rejects(fileKeyStore({ file, pepper }), { code: 'FMG_ERR_FILE', message: /chmod 600/ })
})

t.test('a file that is broken or edited wrongly does not open', async (t) => {
  const file = path.join(t.testdir(), 'keys.json')
  for (const text of ['{', '{"version":"2"}', '{"version":"1","keys":[]}', '{"version":"2","head":{},"keys":[]}', '{"version":"2","head":{},"keys":{},"more":1}', '{"version":"2","head":{},"keys":{}}']) {
    await writeFile(file, text, { mode: 0o600 })
    await t.rejects(fileKeyStore({ file, pepper }), { code: /FMG_ERR_(FILE|OPTION_INVALID|KEY_UNAVAILABLE)/ })
  }
})

t.test('a change that breaks the file, or takes it away, leaves the records that were read last', async (t) => {
  const { open } = filePlace(t)
  const { reasons, onError } = noteReasons()
  const store = await open({ onError })
  const { keyId } = await createKey(store)
  const file = path.join(t.testdirName, 'store', 'keys.json')
  await writeFile(file, '{"version":', { mode: 0o600 })
  await until(() => reasons.length > 0)
  t.match(await store.find(keyId), { keyId })
})

/** Breaks the file of a store, in ways that it can be mended from. */
const breaks: Readonly<Record<string, { readonly harm: (file: string) => Promise<void>, readonly mend: (file: string) => Promise<void> }>> = {
  'taken away': { harm: async (file) => { await rename(file, `${file}.away`) }, mend: async (file) => { await rename(`${file}.away`, file) } },
  'open to others': { harm: async (file) => { await chmod(file, 0o644) }, mend: async (file) => { await chmod(file, 0o600) } },
  'in a folder that is gone': {
    harm: async (file) => { await rename(path.dirname(file), `${path.dirname(file)}.away`) },
    mend: async (file) => { await rename(`${path.dirname(file)}.away`, path.dirname(file)) }
  },
  'not a file': {
    async harm (file) {
      await rename(file, `${file}.away`)
      await mkdir(file)
    },
    async mend (file) {
      await rmdir(file)
      await rename(`${file}.away`, file)
    }
  }
}

t.test('a store whose file is out of reach for longer than it may be refuses, or serves where it is told to, and recovers', async (t) => {
  for (const [what, { harm, mend }] of Object.entries(breaks)) {
    await t.test(what, async (t) => {
      const file = path.join(t.testdir(), 'store', 'keys.json')
      let now = 0
      const { reasons, onError } = noteReasons()
      const options = { file, pepper, heartbeatMs: 10, clock: () => now }
      const [refusing, serving] = [await fileKeyStore({ ...options, onError }), await fileKeyStore({ ...options, onStale: 'serve', onError: () => undefined })]
      t.teardown(async () => { await Promise.all([refusing.close(), serving.close()]) })
      const { keyId } = await createKey(refusing)
      await until(() => serving.recall?.(keyId) !== null)
      await harm(file)
      await until(() => reasons.length > 0)
      t.match(refusing.recall?.(keyId), { keyId }, 'until the bound it is trusted')
      now += 5001
      t.equal(refusing.recall?.(keyId), null)
      t.equal(refusing.revision?.(), null)
      t.throws(() => refusing.find(keyId), { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503, reason: 'key-store-stale' })
      t.match(serving.recall?.(keyId), { keyId })
      t.type(serving.revision?.(), 'object')
      t.match(await serving.find(keyId), { keyId })
      const told = reasons.length
      await mend(file)
      await until(() => refusing.recall?.(keyId) !== null)
      t.match(await refusing.find(keyId), { keyId })
      t.equal(told, 1, 'it is told of once')
    })
  }
})

t.test('who waits for another process to be done still knows the keys', async (t) => {
  const file = path.join(t.testdir(), 'store', 'keys.json')
  let now = 0
  const store = await fileKeyStore({ file, pepper, heartbeatMs: 10, clock: () => now })
  t.teardown(() => store.close())
  const { keyId } = await createKey(store)
  const lock = await lockFile(`${file}.lock`)
  const revoked = revokeApiKey(store, keyId, 7)
  now += 10_000
  await until(() => store.recall?.(keyId) !== null)
  t.match(await store.find(keyId), { version: 1 })
  await lock.release()
  t.ok(await revoked)
  t.match(await store.find(keyId), { revokedAt: 7 })
})

t.test('a store that is closed does first what it was asked to', async (t) => {
  const file = path.join(t.testdir(), 'store', 'keys.json')
  const store = await fileKeyStore({ file, pepper })
  const { keyId } = await createKey(store)
  const lock = await lockFile(`${file}.lock`)
  const revoked = revokeApiKey(store, keyId, 7)
  let isClosed = false
  const closed = store.close().then(() => { isClosed = true })
  const other = await fileKeyStore({ file, pepper })
  t.match(await other.find(keyId), { version: 1 })
  t.notOk(isClosed)
  await other.close()
  await lock.release()
  t.ok(await revoked)
  await closed
})

t.test('a heartbeat that could not be missed once does not boot', async (t) => {
  await t.rejects(fileKeyStore({ file: path.join(t.testdir(), 'keys.json'), pepper, heartbeatMs: 1000, maxStalenessMs: 1999 }), { code: 'FMG_ERR_OPTION_INVALID', message: /fileKeyStore\.maxStalenessMs must be at least twice/ })
})

t.test('without a listener, what goes wrong is a process warning', async (t) => {
  const { open, read, write } = filePlace(t)
  const { keyId } = await createKey(await open())
  const { head, texts } = await read()
  await write({ head, texts: new Map(texts).set(keyId, texts.get(keyId)?.replace('analyst', 'admin') ?? '') })
  const warned = once(process, 'warning')
  const store = await fileKeyStore({ file: path.join(t.testdirName, 'store', 'keys.json'), pepper })
  t.match(await warned, [{ message: /a key cannot be reached/ }])
  await store.close()
})

t.test('uses are written down in a while without being asked for, all in one', async (t) => {
  const { open } = filePlace(t)
  const store = await open()
  store.noteUse?.('one', 1)
  store.noteUse?.('two', 2)
  const file = path.join(t.testdirName, 'store', 'keys.json.uses')
  await until(() => existsSync(file))
  t.same(JSON.parse(await readFile(file, 'utf8')), { one: 1, two: 2 })
})

t.test('a use that cannot be written down fails no one', async (t) => {
  const { open } = filePlace(t)
  const { reasons, onError } = noteReasons()
  const store = await open({ onError })
  const file = path.join(t.testdirName, 'store', 'keys.json.uses')
  await writeFile(file, '{"one":"never"}', { mode: 0o600 })
  store.noteUse?.('one', 1)
  await store.close()
  t.equal(reasons.length, 1)
  await t.rejects(Promise.resolve(store.lastUses?.()), { code: 'FMG_ERR_OPTION_INVALID' })
})
