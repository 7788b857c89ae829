import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { fileSigningKeyStore } from '../../src/authn/file-signing-key-store.ts'
import { memorySigningKeyStore, type SigningKeyStore } from '../../src/authn/signing-key-store.ts'
import { signingKeys, type SigningKeys, type SigningKeysOptions } from '../../src/authn/signing-keys.ts'
import { redisSigningKeyStore, type RedisSigningKeyStoreOptions } from '../../src/authn/redis-signing-key-store.ts'
import { readPublicJwk } from '../../src/authn/verification-key.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'

const hourMs = 3_600_000
const start = 1_800_000_000_000
const short = { rotationSeconds: 36_000, overlapSeconds: 3600 }

/** A node that signs for ten hours with a key, which is published one hour before and after. */
async function open (t: Test, store: SigningKeyStore, time: { now: number }, more: Partial<SigningKeysOptions> = {}): Promise<SigningKeys> {
  const keys = await signingKeys({ store, clock: () => time.now, ...short, ...more })
  t.teardown(() => { keys.close() })
  return keys
}

const kids = (keys: SigningKeys): readonly unknown[] => keys.jwks().keys.map(({ kid }) => kid)

t.test('a key is published before it signs, and after it signed last', async (t) => {
  const time = { now: start }
  const keys = await open(t, memorySigningKeyStore(), time)
  const first = keys.current()
  const at = async (hours: number): Promise<void> => {
    time.now = start + hours * hourMs
    await keys.refresh()
  }
  await at(9 - 0.001)
  t.same(kids(keys), [first.kid])
  await at(9)
  const second = keys.all()[1]
  t.same(kids(keys), [first.kid, second?.kid])
  t.equal(keys.current(), first, 'who caches the keys has to learn of it first')
  time.now = start + 10 * hourMs
  t.equal(keys.current(), second)
  await at(11 - 0.001)
  t.same(kids(keys), [first.kid, second?.kid], 'tokens of the first still count')
  await at(11)
  t.same(kids(keys), [second?.kid])
  t.equal(keys.current(), second, 'the same object')
  await at(500)
  t.same(kids(keys), [second?.kid, keys.all()[1]?.kid], 'after a long sleep the successor waits its hour, too')
  t.equal(keys.current(), second)
})

t.test('another algorithm is rotated in', async (t) => {
  const time = { now: start }
  const store = memorySigningKeyStore()
  const before = await open(t, store, time)
  const after = await open(t, store, time, { algorithm: 'EdDSA' })
  t.equal(after.current().kid, before.current().kid)
  time.now += hourMs
  t.equal(after.current().algorithm, 'EdDSA')
  t.match(after.jwks(), { keys: [{ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' }, { kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig' }] })
})

t.test('only public halves are published, and nothing prints the private ones', async (t) => {
  for (const algorithm of ['ES256', 'EdDSA'] as const) {
    const keys = await open(t, memorySigningKeyStore(), { now: start }, { algorithm })
    const [jwk] = keys.jwks().keys
    t.match(readPublicJwk(jwk, ['ES256', 'EdDSA']), { kid: keys.current().kid, algorithm })
    t.notOk('d' in Object(jwk))
    t.notMatch(inspect(keys.all(), { depth: 9 }) + JSON.stringify(keys.all()), /PRIVATE KEY/)
  }
})

t.test('a clock that is behind that of who made the key signs with it all the same', async (t) => {
  const store = memorySigningKeyStore()
  const ahead = await open(t, store, { now: start })
  const behind = await open(t, store, { now: start - 1000 })
  t.equal(behind.current().kid, ahead.current().kid)
})

t.test('of two that would make the first key at once, one does', async (t) => {
  const store = memorySigningKeyStore()
  const [one, other] = await Promise.all([open(t, store, { now: start }), open(t, store, { now: start })])
  t.equal(one.current().kid, other.current().kid)
})

t.test('processes that share a file share the keys, and make each next one once', async (t) => {
  const file = path.join(t.testdir(), 'secrets', 'token-keys.json')
  const time = { now: start }
  const nodes = await Promise.all([1, 2, 3, 4].map(() => open(t, fileSigningKeyStore({ file }), time)))
  t.equal(new Set(nodes.map((node) => node.current().kid)).size, 1)
  t.equal((await stat(file)).mode & 0o777, 0o600)
  time.now += 9 * hourMs
  await Promise.all(nodes.map((node) => node.refresh()))
  t.equal(new Set(nodes.map((node) => kids(node).join())).size, 1)
  t.equal(nodes[0]?.all().length, 2)
  const late = await open(t, fileSigningKeyStore({ file }), time)
  t.same(kids(late), kids(await open(t, fileSigningKeyStore({ file }), time)), 'a restart changes nothing')
  await rm(file)
  await late.refresh()
  t.equal(late.all().length, 1)
  t.notOk(kids(late).includes(nodes[0]?.current().kid), 'whoever deletes the file ends the keys')
})

t.test('nodes with one Redis and one pepper share the keys, of which Redis can read nothing', async (t) => {
  const client = connectRedis(t)
  const [pepper, key, time] = [randomBytes(32), `${keyPrefix}signing-keys`, { now: start }]
  const store = (more: Partial<RedisSigningKeyStoreOptions> = {}): SigningKeyStore => redisSigningKeyStore({ client, pepper, key, ...more })
  const nodes = await Promise.all([1, 2, 3].map(() => open(t, store(), time)))
  t.equal(new Set(nodes.map((node) => node.current().kid)).size, 1)
  const stored = String(await client.get(key))
  t.notMatch(stored, /PRIVATE|ES256/)
  time.now += 9 * hourMs
  await Promise.all(nodes.map((node) => node.refresh()))
  t.equal(new Set(nodes.map((node) => kids(node).join())).size, 1)
  t.equal(nodes[0]?.all().length, 2)
  const forged = { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'signing-keys-forged' }
  await t.rejects(open(t, store({ pepper: randomBytes(32) }), time), forged)
  // The first character of the last part: bits at the end of one may mean nothing.
  await client.set(key, stored.replace(/\.(.)([^.]*)$/, (_, first: string, rest: string) => `.${first === 'A' ? 'B' : 'A'}${rest}`))
  await t.rejects(nodes[0]?.refresh() ?? Promise.resolve(), forged)
  t.equal(nodes[0]?.all().length, 2, 'what was known stays')
  const down = redisSigningKeyStore({ client: { call: async () => { throw new Error('connection lost') } }, pepper })
  await t.rejects(open(t, down, time), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'signing-key-store-error' })
  const late = store()
  await client.set(key, stored)
  await late.read()
  t.notOk(await late.replace('what nobody has read', ''))
  t.equal(await client.get(key), stored)
  await client.del(key)
  await nodes[1]?.refresh()
  t.equal(nodes[1]?.all().length, 1, 'whoever deletes them ends them')
})

t.test('a file that others may read, or that holds something else, is refused and not quoted', async (t) => {
  const file = path.join(t.testdir(), 'token-keys.json')
  await open(t, fileSigningKeyStore({ file }), { now: start })
  const text = await readFile(file, 'utf8')
  await chmod(file, 0o640)
  await t.rejects(signingKeys({ store: fileSigningKeyStore({ file }) }), { code: 'FMG_ERR_FILE' })
  await chmod(file, 0o600)
  for (const other of [text.slice(1), '{}', text.replace('"1"', '"2"'), text.replace('ES256', 'HS256'), text.replace(/"kid": "\w/, '"kid": "-')]) {
    await writeFile(file, other)
    const error: unknown = await signingKeys({ store: fileSigningKeyStore({ file }) }).catch((error: unknown) => error)
    t.match(error, { code: 'FMG_ERR_OPTION_INVALID' })
    t.notMatch(inspect(error), /PRIVATE KEY/)
  }
})

t.test('while the store cannot be read the keys stay, and it is said', async (t) => {
  const failure = new Error('disk gone')
  let isDown = false
  const inner = memorySigningKeyStore()
  const store: SigningKeyStore = { ...inner, read: async () => isDown ? await Promise.reject(failure) : await inner.read() }
  const told = new EventEmitter()
  const hears = once(told, 'failure')
  const keys = await open(t, store, { now: start }, { refreshSeconds: 1, onError: (error) => told.emit('failure', error) })
  await open(t, store, { now: start }, { refreshSeconds: 1 })
  const warned = once(process, 'warning')
  // The keys' own timers keep no process alive.
  const alive = setInterval(() => {}, 10_000)
  t.teardown(() => { clearInterval(alive) })
  const { kid } = keys.current()
  isDown = true
  await t.rejects(keys.refresh(), failure)
  t.same(await hears, [failure], 'by the timer')
  t.match(await warned, [{ message: 'Error: disk gone' }], 'by default as a warning')
  t.equal(keys.current().kid, kid)
})

t.test('options that would leave a gap stop the boot', async (t) => {
  const store = memorySigningKeyStore()
  for (const bad of [{ rotationSeconds: 7199, overlapSeconds: 3600 }, { overlapSeconds: 3599 }, { algorithm: 'HS256' }, { algorithms: ['ES256'] }, { refreshSeconds: 0 }, { refreshSeconds: 1801 }]) {
    await t.rejects(signingKeys({ store, ...bad } as SigningKeysOptions), { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(bad))
  }
})
