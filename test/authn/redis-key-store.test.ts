import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startPrivateRedis } from '../../scripts/redis.js'
import type { KeyStore } from '../../src/authn/key-store.ts'
import { redisKeyStore, type RedisKeyStoreOptions } from '../../src/authn/redis-key-store.ts'
import { revokeApiKey } from '../../src/authn/revoke-api-key.ts'
import { connectRedis, keyPrefix, redisUrl } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { createKey, keyStoreSuite, noteReasons, pepper, type TestedPlace } from './key-store-suite.ts'

let opened = 0

/** A prefix under which no key is kept yet. */
function freshPrefix (): string {
  return `${keyPrefix}${opened++}:`
}

/** A node that is closed with the test; it says little and, unless told otherwise, bears a long silence. */
async function openNode (t: Test, options: Partial<RedisKeyStoreOptions> & Pick<RedisKeyStoreOptions, 'client'>): Promise<KeyStore> {
  const store = await redisKeyStore({ pepper, heartbeatMs: 20, maxStalenessMs: 60_000, onError: () => undefined, ...options })
  t.teardown(() => store.close())
  return store
}

function redisPlace (t: Test, client = connectRedis(t), prefix = freshPrefix()): TestedPlace {
  return {
    open: async (options = {}) => await openNode(t, { client, prefix, ...options }),
    read: async () => ({ head: await client.get(`{${prefix}}head`) ?? '', texts: new Map(Object.entries(await client.hgetall(`{${prefix}}keys`))) }),
    async write ({ head, texts }) {
      const transaction = client.multi().set(`{${prefix}}head`, head).del(`{${prefix}}keys`)
      if (texts.size > 0) transaction.hset(`{${prefix}}keys`, texts)
      await transaction.exec()
    }
  }
}

/** Time that stands still unless the test moves it, and how often it was asked for. */
function handClock (): { now: number, asked: number, readonly clock: () => number } {
  const hand = {
    now: 0,
    asked: 0,
    clock () {
      hand.asked++
      return hand.now
    }
  }
  return hand
}

t.test('the Redis store', async (t) => { keyStoreSuite(t, redisPlace) })

t.test('a key revoked in one process is refused in another within a second', async (t) => {
  const prefix = freshPrefix()
  const node = fork(path.join(import.meta.dirname, 'key-process.js'), [prefix, pepper.toString('hex')])
  const exited = once(node, 'exit')
  t.teardown(async () => {
    node.kill()
    await exited
  })
  await once(node, 'message')
  const store = await openNode(t, { client: connectRedis(t), prefix })
  const { key, keyId } = await createKey(store)
  const ask = async (): Promise<unknown> => {
    node.send(key)
    return (await once(node, 'message'))[0]
  }
  while (await ask() !== 'ann');
  const revokedAt = performance.now()
  await revokeApiKey(store, keyId)
  while (await ask() === 'ann');
  const took = performance.now() - revokedAt
  t.equal(await ask(), 'api-key-revoked')
  t.ok(took < 1000, `${took} ms`)
})

t.test('a revocation made while the subscription was cut is not lost', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const [mine, other] = [connectRedis(t, redis.url), connectRedis(t, redis.url)]
  // A node whose reading connection finds no way to Redis for a while.
  let cut = false
  const client = cuttable(mine, () => cut)
  const { reasons, onError } = noteReasons()
  const node = await openNode(t, { client, onError })
  const admin = await openNode(t, { client: other })
  const { keyId } = await createKey(admin)
  await until(() => node.recall?.(keyId) !== null)
  cut = true
  await other.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until(() => reasons.length > 0)
  await revokeApiKey(admin, keyId, 7)
  t.match(node.recall?.(keyId), { version: 1 }, 'it has not heard')
  cut = false
  await until(() => node.recall?.(keyId)?.revokedAt === 7)
})

/** Connections of this client, of which those for reading fail while `isCut`. */
function cuttable (client: Redis, isCut: () => boolean): RedisKeyStoreOptions['client'] {
  return {
    call: async (command, ...args) => await client.call(command, ...args),
    duplicate () {
      const connection = client.duplicate({ enableOfflineQueue: true })
      return {
        on: (event, listener) => connection.on(event, listener),
        disconnect: () => { connection.disconnect() },
        call: async (command, ...args) => {
          if (isCut()) throw new Error('cut')
          const answer = await connection.call(command, ...args)
          if (isCut()) throw new Error('cut')
          return answer
        }
      }
    }
  }
}

t.test('a node that hears nothing for longer than it may refuses, or serves where it is told to, and recovers', async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const hand = handClock()
  const { reasons, onError } = noteReasons()
  const refusing = await openNode(t, { client: connectRedis(t, redis.url), clock: hand.clock, maxStalenessMs: 5000, onError })
  const serving = await openNode(t, { client: connectRedis(t, redis.url), clock: hand.clock, maxStalenessMs: 5000, onStale: 'serve' })
  const { keyId } = await createKey(refusing)
  await until(() => serving.recall?.(keyId) !== null)

  process.kill(redis.pid, 'SIGSTOP')
  hand.now = 5000
  t.match(refusing.recall?.(keyId), { keyId }, 'until the bound it is trusted')
  hand.now = 20_000
  t.equal(refusing.recall?.(keyId), null)
  t.throws(() => refusing.find(keyId), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'key-store-stale' })
  t.match(serving.recall?.(keyId), { keyId })
  t.match(await serving.find(keyId), { keyId })
  const { asked } = hand
  // Each heartbeat that is due asks for the time.
  await until(() => hand.asked > asked + 20)
  t.same(reasons, ['key-store-stale'], 'silence is told of once')

  process.kill(redis.pid, 'SIGCONT')
  await until(() => refusing.recall?.(keyId) !== null)
  t.match(await refusing.find(keyId), { keyId })
})

t.test('a node finds a Redis that died and was restored, and closes where it never comes back', async (t) => {
  const first = await startPrivateRedis()
  const prefix = freshPrefix()
  const client = connectRedis(t, first.url)
  // Readers that, once alone, do not look for their Redis again.
  const readers: Redis[] = []
  const patient: RedisKeyStoreOptions['client'] = {
    call: async (command, ...args) => await client.call(command, ...args),
    duplicate () {
      const reader = client.duplicate({ retryStrategy: () => 3_600_000 })
      readers.push(reader)
      return reader
    }
  }
  const hand = handClock()
  const { reasons, onError } = noteReasons()
  const node = await redisKeyStore({ client: patient, pepper, prefix, heartbeatMs: 20, maxStalenessMs: 5000, clock: hand.clock, onError })
  const { keyId } = await createKey(node)
  const backup = await redisPlace(t, client, prefix).read()
  await first.stop()
  await until(() => readers[0]?.status === 'reconnecting')
  hand.now = 20_000
  await until(() => reasons.includes('key-store-stale'))

  const second = await startPrivateRedis(first.port)
  const restored = redisPlace(t, connectRedis(t, second.url), prefix)
  await restored.write(backup)
  await until(() => node.recall?.(keyId) !== null)
  await revokeApiKey(await restored.open(), keyId, 7)
  await until(() => node.recall?.(keyId)?.revokedAt === 7)
  await second.stop()
  await until(() => readers.at(-1)?.status === 'reconnecting')
  await node.close()
})

t.test('a node that is closed while it begins anew leaves no connection open', async (t) => {
  const client = connectRedis(t)
  const readers: Redis[] = []
  let [isAsked, isAnswered] = [false, false]
  let letAsk = (): void => undefined
  const slow: RedisKeyStoreOptions['client'] = {
    call: async (command, ...args) => {
      if (hand.now === 0 || !String(args[0]).includes('HGETALL')) return await client.call(command, ...args)
      isAsked = true
      await new Promise<void>((resolve) => { letAsk = resolve })
      const answer = await client.call(command, ...args)
      isAnswered = true
      return answer
    },
    duplicate () {
      const reader = client.duplicate()
      readers.push(reader)
      return reader
    }
  }
  const hand = handClock()
  const node = await redisKeyStore({ client: slow, pepper, prefix: freshPrefix(), heartbeatMs: 10, maxStalenessMs: 20, clock: hand.clock, onError: () => undefined })
  hand.now = 1000
  await until(() => isAsked)
  await node.close()
  letAsk()
  await until(() => isAnswered)
  await until(() => readers.every(({ status }) => status === 'end'))
  t.equal(readers.length, 1)
})

t.test('a node that stood where the log was trimmed reads the store again', async (t) => {
  const prefix = freshPrefix()
  const raw = connectRedis(t)
  const node = await openNode(t, { client: raw, prefix })
  const { keyId } = await createKey(node)
  // Written by one that takes its entry out of the log before anyone can read it.
  const silent = await openNode(t, { client: withoutLog(raw), prefix })
  await revokeApiKey(silent, keyId, 7)
  await until(() => node.recall?.(keyId)?.revokedAt === 7)
  t.pass('the heartbeat told that something was missed')
})

t.test('a change whose entry was taken away is not missed when the next one comes', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  const node = await openNode(t, { client, prefix, heartbeatMs: 30_000, maxStalenessMs: 60_000 })
  const [one, two] = [await createKey(node), await createKey(node)]
  // Both have told their first heartbeat before there is anything to miss.
  const silent = await openNode(t, { client: withoutLog(client), prefix, heartbeatMs: 30_000 })
  const other = await openNode(t, { client, prefix, heartbeatMs: 30_000 })
  await revokeApiKey(silent, one.keyId, 7)
  await revokeApiKey(other, two.keyId, 8)
  await until(() => node.recall?.(two.keyId)?.revokedAt === 8)
  t.match(node.recall?.(one.keyId), { revokedAt: 7 })
})

/** A client whose changes leave no entry in the log. */
function withoutLog (client: Redis): RedisKeyStoreOptions['client'] {
  return {
    call: async (command, ...args) => await client.call(command, ...args.map((arg) => typeof arg === 'string' ? arg.replace(/redis\.call\('XADD'.*'record', ARGV\[4\]\)/, '') : arg)),
    duplicate: () => client.duplicate()
  }
}

t.test('an answer that comes late takes nothing back', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  let meanwhile = async (): Promise<void> => undefined
  const late: RedisKeyStoreOptions['client'] = {
    call: async (command, ...args) => {
      const answer = await client.call(command, ...args)
      if (String(args[0]).includes('HGETALL')) await meanwhile()
      return answer
    },
    duplicate: () => client.duplicate()
  }
  const [node, other] = [await openNode(t, { client: late, prefix }), await openNode(t, { client, prefix })]
  const { keyId } = await createKey(other)
  await until(() => node.recall?.(keyId) !== null)
  meanwhile = async () => {
    await revokeApiKey(other, keyId, 7)
    await until(() => node.recall?.(keyId)?.revokedAt === 7)
  }
  await node.list()
  t.match(node.recall?.(keyId), { revokedAt: 7 })
})

for (const [name, isLater] of [['the same', false], ['a later', true]] as const) {
  t.test(`what the log brought while ${name} book was asked for is told once`, async (t) => {
    const prefix = freshPrefix()
    const client = connectRedis(t)
    let beforehand = async (): Promise<void> => undefined
    const slow: RedisKeyStoreOptions['client'] = {
      call: async (command, ...args) => {
        if (String(args[0]).includes('HGETALL')) await beforehand()
        return await client.call(command, ...args)
      },
      duplicate: () => client.duplicate()
    }
    // A heartbeat would bring news of the change that left no entry.
    const heartbeatMs = 30_000
    const [node, other] = [await openNode(t, { client: slow, prefix, heartbeatMs }), await openNode(t, { client, prefix, heartbeatMs })]
    const silent = await openNode(t, { client: withoutLog(client), prefix, heartbeatMs })
    const [made, told]: [string[], string[]] = [[], []]
    node.whenChanged?.(({ before, after }) => { told.push(`${after.keyId} ${before?.version ?? 0} ${after.version}`) })
    beforehand = async () => {
      beforehand = async () => undefined
      const { keyId } = await createKey(other)
      await until(() => node.recall?.(keyId) !== null)
      made.push(`${keyId} 0 1`)
      if (isLater) made.push(`${(await createKey(silent)).keyId} 0 1`)
    }
    await node.list()
    t.same(told, made)
  })
}

t.test('a client that speaks RESP2 will do', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t, redisUrl(), { protocol: 2 })
  const [here, there] = [await openNode(t, { client, prefix }), await openNode(t, { client, prefix })]
  const { keyId } = await createKey(here)
  await until(() => there.recall?.(keyId) !== null)
  here.noteUse?.(keyId, 1)
  t.same(await here.lastUses?.(), new Map([[keyId, 1]]))
})

t.test('the log stays short, and begins anew when it was deleted', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  const node = await openNode(t, { client, prefix, maxLogEntries: 1 })
  const { keyId } = await createKey(node)
  for (let version = 2; version < 300; version++) await node.update(keyId, (record) => ({ ...record, label: `${version}` }))
  t.ok(await client.xlen(`{${prefix}}log`) < 250)
  await client.del(`{${prefix}}log`)
  await revokeApiKey(await openNode(t, { client, prefix }), keyId, 7)
  await until(() => node.recall?.(keyId)?.revokedAt === 7)
})

t.test('a forged or replayed entry of the log changes nothing, and ends no news', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  const { reasons, onError } = noteReasons()
  const node = await openNode(t, { client, prefix, onError })
  const { keyId } = await createKey(node)
  const log = `{${prefix}}log`
  const [head, record] = [await client.get(`{${prefix}}head`) ?? '', await client.hget(`{${prefix}}keys`, keyId) ?? '']
  await revokeApiKey(node, keyId, 7)
  await client.xadd(log, '*', 'head', head, 'id', keyId, 'record', record)
  await client.xadd(log, '*', 'head', head.replace('"sequence":1', '"sequence":9'), 'id', keyId, 'record', record)
  await until(() => reasons.includes('key-store-forged'))
  await client.xadd(log, '*', 'what', 'another program wrote')
  const { keyId: another } = await createKey(await openNode(t, { client, prefix }))
  await until(() => node.recall?.(another) !== null)
  t.match(node.recall?.(keyId), { revokedAt: 7 })
})

t.test('an entry that brings another record than its head names is not believed', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  const node = await openNode(t, { client, prefix })
  const [one, two] = [await createKey(node), await createKey(node)]
  await until(() => node.recall?.(two.keyId) !== null)
  const record = await client.hget(`{${prefix}}keys`, two.keyId) ?? ''
  await revokeApiKey(await openNode(t, { client: withoutLog(client), prefix, heartbeatMs: 30_000 }), one.keyId, 7)
  await client.xadd(`{${prefix}}log`, '*', 'head', await client.get(`{${prefix}}head`) ?? '', 'id', two.keyId, 'record', record)
  await until(() => node.recall?.(one.keyId)?.revokedAt === 7)
  t.match(node.recall?.(two.keyId), { version: 1 })
})

t.test('a change that Redis made but could not answer is not made twice', async (t) => {
  const prefix = freshPrefix()
  const client = connectRedis(t)
  // As a client does that lost the connection after it had asked: it asks again.
  const twice: RedisKeyStoreOptions['client'] = {
    call: async (command, ...args) => {
      if (String(args[0]).includes('HSET')) await client.call(command, ...args)
      return await client.call(command, ...args)
    },
    duplicate: () => client.duplicate()
  }
  const node = await openNode(t, { client: twice, prefix })
  const { keyId } = await createKey(node)
  t.match(await node.update(keyId, (record) => ({ ...record, label: 'once' })), { version: 2 })
  t.match(await node.find(keyId), { version: 2, label: 'once' })
})

t.test('a Redis that cannot be asked is said, and options are read strictly', async (t) => {
  const client: RedisKeyStoreOptions['client'] = {
    call: async () => { throw new Error('no connection') },
    duplicate: () => { throw new Error('not reached') }
  }
  await t.rejects(redisKeyStore({ client, pepper }), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'key-store-error', cause: { message: 'no connection' } })
  const invalid = { code: 'FMG_ERR_OPTION_INVALID' }
  await t.rejects(redisKeyStore({ client, pepper, prefix: '{a}' }), invalid)
  await t.rejects(redisKeyStore({ client, pepper, heartbeatMs: 1000, maxStalenessMs: 1999 }), invalid)
  await t.rejects(redisKeyStore({ client, pepper: pepper.subarray(1) }), invalid)
})

t.test('without options, a node hears of a change through a client as it is', async (t) => {
  const client = connectRedis(t)
  const prefix = freshPrefix()
  const [here, there] = await Promise.all([redisKeyStore({ client, pepper, prefix }), redisKeyStore({ client, pepper, prefix })])
  const { keyId } = await createKey(here)
  await until(() => there.recall?.(keyId) !== null)
  const warned = once(process, 'warning')
  here.noteUse?.(keyId, 1)
  client.disconnect()
  t.match(await here.lastUses?.().catch((error: unknown) => error), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
  await warned
  await Promise.all([here.close(), there.close()])
})
