import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { memoryRefreshStore } from '../../src/authn/memory-refresh-store.ts'
import { redisRefreshStore, type RedisRefreshStoreOptions } from '../../src/authn/redis-refresh-store.ts'
import { refreshFamilies } from '../../src/authn/refresh-families.ts'
import { parseRefreshToken, refreshTokenPattern } from '../../src/authn/refresh-token.ts'
import { apiKeyPattern } from '../../src/authn/api-key-format.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { families, refreshStoreSuite, start } from './refresh-suite.ts'

const pepper = randomBytes(32)
const clients = new WeakMap<Test, Redis>()

function inRedis (t: Test, more: Partial<RedisRefreshStoreOptions> = {}): ReturnType<typeof redisRefreshStore> {
  const client = clients.get(t) ?? connectRedis(t)
  clients.set(t, client)
  return redisRefreshStore({ client, pepper, prefix: `${keyPrefix}refresh:`, ...more })
}

t.test('in memory', async (t) => { refreshStoreSuite(t, () => memoryRefreshStore()) })
t.test('in Redis', async (t) => { refreshStoreSuite(t, inRedis) })

t.test('a token has one form, which scanners find, and which is no API key’s', async (t) => {
  const { token } = await families(memoryRefreshStore()).begin('ann')
  t.match(token, /^fmg_refresh_[0-9A-Za-z]{64}$/)
  t.equal(refreshTokenPattern.exec(`token: ${token}, `)?.[0], token)
  t.notMatch(token, apiKeyPattern)
  t.equal(parseRefreshToken(`${token}\n`), null)
})

t.test('a memory that is full begins no family, and ends none for it', async (t) => {
  const { begin, turn } = families(memoryRefreshStore({ maxFamilies: 1 }))
  const { token } = await begin('ann')
  await t.rejects(begin('ben'), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'refresh-store-full' })
  t.ok(await turn(token))
  t.throws(() => memoryRefreshStore({ maxFamilies: 0 }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('families that have ended make room', async (t) => {
  const store = memoryRefreshStore({ maxFamilies: 1 })
  const { begin, time } = families(store, { lifetimeSeconds: 1 })
  await begin('ann')
  time.now += 1000
  t.ok(await begin('ben'))
})

t.test('nothing in Redis is of use to a thief, and Redis forgets a family when it ends', async (t) => {
  const client = connectRedis(t)
  const { begin, turn } = families(inRedis(t))
  const { token, familyId } = await begin('ann')
  const next = await turn(token)
  const key = `${keyPrefix}refresh:{${familyId}}`
  const stored = JSON.stringify(await client.hgetall(key))
  for (const secret of [token, next.token].flatMap((text) => [text.slice(12, 44), text.slice(44)])) t.notOk(stored.includes(secret))
  t.equal(await client.pexpiretime(key).catch(() => start + 28_800_000), start + 28_800_000)
})

t.test('who can write to Redis cannot make a family of another, widen one, or bring it to another epoch', async (t) => {
  const client = connectRedis(t)
  const { begin, find, turn } = families(inRedis(t))
  const [admin, mine] = [await begin('admin'), await begin('eve')]
  const keyOf = (familyId: string): string => `${keyPrefix}refresh:{${familyId}}`
  const stored = String(await client.hget(keyOf(mine.familyId), 'family'))
  const refused = { code: 'FMG_ERR_CREDENTIAL_INVALID', reason: 'refresh-token-unknown' }
  for (const forged of [stored.replace('eve', 'admin'), String(await client.hget(keyOf(admin.familyId), 'family')), '{}', '']) {
    await client.hset(keyOf(mine.familyId), 'family', forged)
    await t.rejects(find(mine.token), refused)
    await t.rejects(turn(mine.token), refused)
  }
  await client.hset(keyOf(mine.familyId), 'family', stored)
  t.match(await find(mine.token), { content: 'eve' })
  await t.rejects(families(inRedis(t, { epoch: 1 })).find(mine.token), refused)
  await t.rejects(families(inRedis(t, { pepper: randomBytes(32) })).find(mine.token), refused)
})

t.test('what a family stands for is not lost when two change it at once', async (t) => {
  const { begin, find, turn } = families(inRedis(t), { graceSeconds: 10 })
  const { token } = await begin('ann')
  const outcomes = await Promise.all(['a', 'b', 'c'].map((content) => turn(token, content)))
  t.match(await find(String(outcomes[0]?.token)), { content: /^[abc]$/ })
})

t.test('what another node changed meanwhile is not written over', async (t) => {
  const client = connectRedis(t)
  const other = families(inRedis(t), { graceSeconds: 10 })
  const { token } = await other.begin('ann')
  let meanwhile = async (): Promise<unknown> => await other.turn(token, 'ann, changed')
  const late = redisRefreshStore({
    pepper,
    prefix: `${keyPrefix}refresh:`,
    client: {
      async call (command, ...args) {
        if (command === 'EVAL') {
          const first = meanwhile
          meanwhile = async () => null
          await first()
        }
        return await client.call(command, ...args)
      }
    }
  })
  const next = await families(late, { graceSeconds: 10 }).turn(token)
  t.match(await other.find(next.token), { content: 'ann, changed' })
})

t.test('a Redis that does not answer is no reason to call a token bad', async (t) => {
  const store = redisRefreshStore({ client: { call: async () => { throw new Error('connection lost') } }, pepper })
  const { begin, find, end } = families(store)
  const unavailable = { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'refresh-store-error' }
  await t.rejects(begin('ann'), unavailable)
  await t.rejects(find(`fmg_refresh_${'0'.repeat(64)}`), unavailable)
  await t.rejects(end('x'), unavailable)
})

t.test('options that are not understood stop the boot', async (t) => {
  const store = memoryRefreshStore()
  for (const bad of [{ graceSeconds: 61 }, { lifetimeSeconds: 0 }, { ttl: 1 }]) t.throws(() => refreshFamilies({ store, ...bad }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => redisRefreshStore({ client: { call: async () => null }, pepper: randomBytes(31) }), { code: 'FMG_ERR_OPTION_INVALID' })
})
