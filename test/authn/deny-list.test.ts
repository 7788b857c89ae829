import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { SharedDenyList } from '../../src/authn/deny-list.ts'
import { fileDenyList } from '../../src/authn/file-deny-list.ts'
import { memoryDenyList } from '../../src/authn/memory-deny-list.ts'
import { recordSeal } from '../../src/books/record-seal.ts'
import { redisDenyList, type RedisDenyListOptions } from '../../src/authn/redis-deny-list.ts'
import { canonicalJson } from '../../src/encoding.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { denyListSuite, issuer, sharedDenyListSuite, tokenOf, type SharedPlace } from './deny-list-suite.ts'
import { until } from '../helpers/until.ts'
import { noteReasons, pepper } from './key-store-suite.ts'

let opened = 0

function freshPrefix (): string {
  return `${keyPrefix}denials-${opened++}:`
}

/** A node that is closed with the test; it says little and, unless told otherwise, bears a long silence. */
async function openNode (t: Test, options: Partial<RedisDenyListOptions> & Pick<RedisDenyListOptions, 'client'>): Promise<SharedDenyList> {
  const list = await redisDenyList({ pepper, heartbeatMs: 20, maxStalenessMs: 60_000, onError: () => undefined, ...options })
  t.teardown(() => list.close())
  return list
}

function redisPlace (t: Test): SharedPlace {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  return {
    open: async (options = {}) => await openNode(t, { client, prefix, ...options }),
    read: async () => ({ head: await client.get(`{${prefix}}head`) ?? '', texts: new Map(Object.entries(await client.hgetall(`{${prefix}}denials`))) }),
    async write ({ head, texts }) {
      await client.multi().set(`{${prefix}}head`, head).del(`{${prefix}}denials`).hset(`{${prefix}}denials`, new Map(texts)).exec()
    }
  }
}

function filePlace (t: Test): SharedPlace {
  const file = path.join(t.testdir(), `denials-${opened++}.json`)
  return {
    async open (options = {}) {
      const list = await fileDenyList({ file, pepper, onError: () => undefined, ...options })
      t.teardown(() => list.close())
      return list
    },
    async read () {
      const { head, denials } = JSON.parse(await readFile(file, 'utf8')) as { head: object, denials: Record<string, object> }
      return { head: canonicalJson(head), texts: new Map(Object.entries(denials).map(([id, sealed]) => [id, canonicalJson(sealed)])) }
    },
    async write ({ head, texts }) {
      const lines = [...texts].map(([id, text]) => `${JSON.stringify(id)}:${text}`)
      await writeFile(`${file}.new`, `{"version":"2","head":${head},"denials":{${lines.join(',')}}}`, { mode: 0o600 })
      await rename(`${file}.new`, file)
    }
  }
}

t.test('the list in memory', async (t) => { denyListSuite(t, async (_t, now) => memoryDenyList(now)) })
t.test('the list in a file', async (t) => {
  denyListSuite(t, async (t, now) => await filePlace(t).open({ now }))
  sharedDenyListSuite(t, filePlace)
})
t.test('the list in Redis', async (t) => {
  denyListSuite(t, async (t, now) => await redisPlace(t).open({ now }))
  sharedDenyListSuite(t, redisPlace)
})

t.test('without options but those they need, they work', async (t) => {
  t.equal(memoryDenyList().denies(tokenOf()), false)
  const file = await fileDenyList({ file: path.join(t.testdir(), 'denials.json'), pepper })
  const redis = await redisDenyList({ client: connectRedis(t), pepper, prefix: freshPrefix() })
  for (const list of [file, redis]) {
    await list.deny({ issuer, until: Date.now() })
    t.equal(list.denies(tokenOf()), true)
    await list.close()
  }
  for (const wrong of [{ heartbeatMs: 1000, maxStalenessMs: 1999 }, { prefixes: 'x' }]) {
    await t.rejects(fileDenyList({ file: 'x', pepper, ...wrong }), { code: 'FMG_ERR_OPTION_INVALID' })
    await t.rejects(redisDenyList({ client: connectRedis(t), pepper, ...wrong }), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

/** Asks another process. */
async function startNode (t: Test, ...words: readonly string[]): Promise<(tokenId: string) => Promise<unknown>> {
  const node = fork(path.join(import.meta.dirname, 'deny-process.js'), [...words, pepper.toString('hex')])
  const exited = once(node, 'exit')
  t.teardown(async () => {
    node.kill()
    await exited
  })
  await once(node, 'message')
  return async (tokenId): Promise<unknown> => {
    node.send(tokenId)
    return (await once(node, 'message'))[0]
  }
}

t.test('a token denied in one process is denied in another within a second', async (t) => {
  const prefix = freshPrefix()
  const file = path.join(t.testdir(), 'denials.json')
  const shared = {
    redis: { ask: await startNode(t, 'redis', prefix), list: await openNode(t, { client: connectRedis(t), prefix }) },
    file: { ask: await startNode(t, 'file', file), list: await fileDenyList({ file, pepper, onError: () => undefined }) }
  }
  t.teardown(() => shared.file.list.close())
  for (const [name, { ask, list }] of Object.entries(shared)) {
    t.equal(await ask('stolen'), false)
    const deniedAt = performance.now()
    await list.deny({ issuer, tokenId: 'stolen' })
    while (await ask('stolen') !== true);
    const took = performance.now() - deniedAt
    t.ok(took < 1000, `${name}: ${took} ms`)
    t.equal(await ask('other'), false)
  }
})

t.test('a denial made while the subscription was cut, or whose log was deleted or trimmed, is not lost', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const [client, other] = [connectRedis(t, redis.url), connectRedis(t, redis.url)]
  const { reasons, onError } = noteReasons()
  let isCut = false
  const duplicate = (): ReturnType<RedisDenyListOptions['client']['duplicate']> => {
    const connection = client.duplicate()
    return {
      on: (event, listener) => connection.on(event, listener),
      disconnect: () => { connection.disconnect() },
      call: async (command, ...args) => isCut ? await Promise.reject(new Error('cut')) : await connection.call(command, ...args)
    }
  }
  const node = await openNode(t, { client: { call: async (command, ...args) => await client.call(command, ...args), duplicate }, onError })
  const admin = await openNode(t, { client: other, maxLogEntries: 1 })
  isCut = true
  await other.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => reasons.length > 0)
  await admin.deny({ issuer, tokenId: 'cut' })
  t.equal(node.denies(tokenOf({ tokenId: 'cut' })), false, 'it has not heard')
  isCut = false
  await until(() => node.denies(tokenOf({ tokenId: 'cut' })))

  await other.del('{model-guard:denials:}log')
  await admin.deny({ issuer, tokenId: 'deleted' })
  await until(() => node.denies(tokenOf({ tokenId: 'deleted' })))
  for (let count = 0; count < 300; count++) await admin.deny({ issuer, tokenId: `${count}` })
  t.ok(await other.xlen('{model-guard:denials:}log') < 250)
  await until(() => node.size === admin.size)
})

t.test('a node that has not heard for too long does not know, or serves where it is told to, and recovers', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  let now = 0
  const { reasons, onError } = noteReasons()
  const refusing = await openNode(t, { client: connectRedis(t, redis.url), clock: () => now, maxStalenessMs: 5000, onError })
  const serving = await openNode(t, { client: connectRedis(t, redis.url), clock: () => now, maxStalenessMs: 5000, onStale: 'serve' })
  await refusing.deny({ issuer, subject: 'ann' })
  await until(() => serving.denies(tokenOf()))
  process.kill(redis.pid, 'SIGSTOP')
  now = 20_000
  for (const subject of ['ann', 'bob']) t.equal(refusing.denies(tokenOf({ subject })), 'unknown')
  t.equal(serving.denies(tokenOf()), true)
  t.equal(serving.denies(tokenOf({ subject: 'bob' })), false)
  await until(() => reasons.includes('deny-list-stale'))
  process.kill(redis.pid, 'SIGCONT')
  await until(() => refusing.denies(tokenOf()) === true)
  t.equal(refusing.denies(tokenOf({ subject: 'bob' })), false)
})

t.test('a process that can no longer read its list does not know, or serves where it is told to, and recovers', async (t) => {
  const file = path.join(t.testdir(), 'denials.json')
  let now = 0
  const options = { file, pepper, clock: () => now, heartbeatMs: 10, onError: () => undefined }
  const [refusing, serving] = [await fileDenyList(options), await fileDenyList({ ...options, onStale: 'serve' })]
  t.teardown(async () => { await Promise.all([refusing.close(), serving.close()]) })
  await refusing.deny({ issuer, subject: 'ann' })
  await until(() => serving.denies(tokenOf()))
  await rename(file, `${file}.away`)
  await until(() => {
    now += 1000
    return refusing.denies(tokenOf({ subject: 'bob' })) === 'unknown'
  })
  t.equal(refusing.denies(tokenOf()), 'unknown')
  t.equal(serving.denies(tokenOf()), true)
  t.equal(serving.denies(tokenOf({ subject: 'bob' })), false)
  await rename(`${file}.away`, file)
  await until(() => refusing.denies(tokenOf()) === true)
})

t.test('what is sealed for one store is not known in another', async (t) => {
  const [keys, denials] = [recordSeal('key-store', pepper, 0), recordSeal('deny-list', pepper, 0)]
  const text = keys.seal('head', { sequence: 1 })
  t.same(keys.open('head', text), { sequence: 1 })
  t.equal(denials.open('head', text), null)
  t.equal(keys.open('record', text), null)
})

t.test('a list that cannot be asked is said', async (t) => {
  const client: RedisDenyListOptions['client'] = { call: async () => { throw new Error('no connection') }, duplicate: () => { throw new Error('not reached') } }
  await t.rejects(redisDenyList({ client, pepper }), { code: 'FMG_ERR_DENY_LIST_UNAVAILABLE', reason: 'deny-list-error', cause: { message: 'no connection' } })
})
