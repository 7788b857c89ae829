import { randomBytes } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { readVaultPath } from '../../src/secrets/vault-path.ts'
import { readSecretText } from '../../src/secrets/secret-text.ts'
import { tokenKeeper } from '../../src/secrets/token-keeper.ts'
import { vaultSecret } from '../../src/secrets/vault-secret.ts'
import { vaultTransitKey } from '../../src/secrets/vault-transit-key.ts'
import { vault, type Vault, type VaultOptions } from '../../src/secrets/vault.ts'
import { handSchedule } from '../helpers/hand-schedule.ts'
import { holdsFaults } from '../helpers/store-faults.ts'
import { until } from '../helpers/until.ts'
import { vaultDouble, type VaultDouble } from '../helpers/vault-double.ts'
import { given, prepareVault, startVault, type PreparedVault } from '../helpers/vault.ts'

const statement = Buffer.from('sha256:of a statement')

/** A client that the test ends. */
function clientOf (t: Test, options: VaultOptions): Vault {
  const client = vault(options)
  t.teardown(async () => { await client.close() })
  return client
}

function failure (reason: string) {
  return { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503, reason }
}

/** What a real one and the double do alike. */
async function suite (t: Test, { url, ...place }: PreparedVault): Promise<void> {
  const appRole = async (uses?: number) => ({ roleId: place.roleId, secretId: given(`${await place.newSecretId(uses)}\n`) })

  await t.test('each way of logging in gives a secret, and what is wrong with it gives none', async (t) => {
    const folder = t.testdir({ good: `${place.jwt}\n`, bad: `${place.jwt.slice(0, -90)}.` })
    const ways: readonly (readonly [name: string, good: VaultOptions['login'], bad: VaultOptions['login']])[] = [
      ['token', { token: given(await place.newToken(3600)) }, { token: given('hvs.none') }],
      ['appRole', { appRole: await appRole() }, { appRole: { roleId: place.roleId, secretId: given('none') } }],
      ['kubernetes', { kubernetes: { role: 'model-guard', tokenFile: path.join(folder, 'good') } }, { kubernetes: { role: 'model-guard', tokenFile: path.join(folder, 'bad') } }],
      ['jwt', { jwt: { role: 'model-guard', token: given(place.jwt) } }, { jwt: { role: 'other', token: given(place.jwt) } }]
    ]
    for (const [name, good, bad] of ways) {
      const secret = vaultSecret(clientOf(t, { url, login: good }), 'secret/model-guard', 'pepper')
      t.equal(Buffer.from(await secret.read()).toString(), 'sesame', name)
      await t.rejects(vaultSecret(clientOf(t, { url, login: bad }), 'secret/model-guard', 'pepper').read(), failure('store-denied'), name)
    }
  })

  await t.test('a secret is of the version that is newest when it is read', async (t) => {
    const secret = vaultSecret(clientOf(t, { url, login: { appRole: await appRole() } }), 'secret/model-guard', 'pepper')
    const before = await secret.version()
    t.match(before, { version: Number, createdAt: /^20\d\d-\d\d-\d\dT.*Z$/ })
    await place.admin('POST', 'secret/data/model-guard', { data: { pepper: 'sésame', size: 7, empty: '' } })
    t.equal(Buffer.from(await secret.read()).toString(), 'sésame')
    t.equal((await secret.version()).version, before.version + 1)
    await place.admin('POST', 'secret/data/model-guard', { data: { pepper: 'sesame', size: 7, empty: '' } })
  })

  await t.test('what is not there, or not allowed, is said as that', async (t) => {
    const client = clientOf(t, { url, login: { appRole: await appRole() } })
    const root = clientOf(t, { url, login: { token: given(place.rootToken) } })
    await t.rejects(vaultSecret(client, 'secret/other', 'pepper').read(), failure('store-denied'))
    await t.rejects(vaultSecret(root, 'secret/none', 'pepper').read(), failure('store-missing'))
    for (const member of ['none', 'size', 'empty', '__proto__']) await t.rejects(vaultSecret(client, 'secret/model-guard', member).read(), failure('store-missing'), member)
    await t.rejects(vaultTransitKey(client, { name: 'other' }).wrap(randomBytes(32), statement), failure('store-denied'))
    await t.rejects(vaultTransitKey(root, { name: 'rsa' }).wrap(randomBytes(32), statement), failure('store-refused'))
    await t.rejects(vaultTransitKey(root, { name: 'none' }).unwrap({ algorithm: '', header: {}, encryptedKey: Buffer.from('vault:v1:AAAA') }, statement), failure('store-missing'))
  })

  await t.test('a key is wrapped by the newest version, and opens for what it was wrapped for alone', async (t) => {
    const client = clientOf(t, { url, login: { appRole: await appRole() } })
    const key = vaultTransitKey(client, { name: 'model' })
    const bytes = randomBytes(32)
    const wrapped = await key.wrap(bytes, statement)
    t.match(wrapped, { algorithm: 'fastify-model-guard/vault-transit', header: {} })
    t.equal(key.keyId, 'vault:transit/model')
    t.notOk(Buffer.from(wrapped.encryptedKey).includes(bytes))
    await place.admin('POST', 'transit/keys/model/rotate', {})
    const later = await key.wrap(bytes, statement)
    t.match([wrapped, later].map(({ encryptedKey }) => Buffer.from(encryptedKey).toString().slice(0, 9)), [/^vault:v\d:$/, /^vault:v\d:$/])
    t.ok(Number(Buffer.from(later.encryptedKey).toString('latin1', 7, 8)) === Number(Buffer.from(wrapped.encryptedKey).toString('latin1', 7, 8)) + 1)
    for (const each of [wrapped, later]) t.ok(bytes.equals(await key.unwrap(each, statement)))
    await t.rejects(key.unwrap(wrapped, Buffer.from('another')), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
    const changed = Buffer.from(later.encryptedKey)
    changed.write(changed[20] === 65 ? 'B' : 'A', 20)
    await t.rejects(key.unwrap({ ...later, encryptedKey: changed }, statement), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
    const root = clientOf(t, { url, login: { token: given(place.rootToken) } })
    await t.rejects(vaultTransitKey(root, { name: 'other' }).unwrap(wrapped, statement), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
  })

  await t.test('one login serves all who ask meanwhile, is renewed, and revoked in the end', async (t) => {
    const hand = handSchedule()
    const before = await place.count()
    const client = vault({ url, login: { appRole: await appRole(2) }, later: hand.schedule })
    const secret = vaultSecret(client, 'secret/model-guard', 'pepper')
    await Promise.all([secret.read(), secret.read(), secret.read()])
    t.equal(await place.count(), before + 1)
    t.strictSame(hand.delays.map((delay) => Math.round(delay / 10_000)), [240], 'two thirds of an hour')
    hand.run()
    await until(() => hand.delays.length === 1)
    t.equal(await place.count(), before + 1, 'renewed, with no second login')
    await place.revokeAll()
    const none = await place.count()
    await Promise.all([secret.read(), secret.read(), secret.read()])
    t.equal(await place.count(), none + 1, 'one that was logged in again after a 403')
    await client.close()
    t.equal(await place.count(), none)
    await t.rejects(secret.read(), failure('store-closed'))
    t.strictSame(hand.delays, [])
  })

  await t.test('a token that was given is used until it is refused, and not revoked', async (t) => {
    const token = await place.newToken(3600)
    const before = await place.count()
    const client = vault({ url, login: { token: given(token) } })
    const secret = vaultSecret(client, 'secret/model-guard', 'pepper')
    await secret.read()
    await client.close()
    t.equal(await place.count(), before)
    const blind = vaultSecret(clientOf(t, { url, login: { token: given(await place.newToken(3600, { no_default_policy: true })) } }), 'secret/model-guard', 'pepper')
    t.ok(await blind.read(), 'one that may not look itself up is used as it is')
    const revoked = vaultSecret(clientOf(t, { url, login: { token: given(token) } }), 'secret/model-guard', 'pepper')
    await revoked.read()
    await place.revokeAll()
    for (const each of [revoked, blind]) await t.rejects(each.read(), failure('store-denied'))
  })

  await t.test('a token that ended is refused', async (t) => {
    const ending = vaultSecret(clientOf(t, { url, login: { token: given(await place.newToken(1, { renewable: false })) } }), 'secret/model-guard', 'pepper')
    const count = await place.count()
    await until(async () => await place.count() < count)
    await t.rejects(ending.read(), failure('store-denied'))
  })
}

t.test('the double', async (t) => { await suite(t, await prepareVault(t, await vaultDouble(t))) })

t.test('whatever goes wrong is told by a code, in time, and nothing that was sent or answered with it', async (t) => {
  const double = await vaultDouble(t)
  const { newToken, ...place } = await prepareVault(t, double)
  const [token, rootToken, key] = [await newToken(3600), double.rootToken, randomBytes(32)]
  const model = (text = token, name = 'model', timeoutMs = 10_000): KeyProvider => vaultTransitKey(clientOf(t, { url: double.url, timeoutMs, login: { token: given(text) } }), { name })
  const wrapped = await model().wrap(key, statement)
  const ended = vaultTransitKey(clientOf(t, { url: double.url, login: { token: given(await newToken(60)) } }), { name: 'model' })
  await ended.unwrap(wrapped, statement)
  const revokedToken = await newToken(3600)
  const during = (instead: VaultDouble['instead'], work: () => Promise<unknown>) => async () => {
    double.instead = instead
    await work().finally(() => { double.instead = undefined })
  }
  const unwrap = async (): Promise<unknown> => await model().unwrap(wrapped, statement)
  const unwrapSoon = async (): Promise<unknown> => await model(token, 'model', 90).unwrap(wrapped, statement)
  const unavailable = 'FMG_ERR_KEY_UNAVAILABLE'
  const invalid = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' } as const
  const echo = JSON.stringify({ errors: [token, key.toString('base64')], data: { plaintext: `${key.toString('base64')}!` } })
  await holdsFaults(t, [
    { name: 'wrong key', work: async () => await model(rootToken, 'other').unwrap(wrapped, statement), ...invalid },
    { name: 'wrong associated data', work: async () => await model().unwrap(wrapped, Buffer.from('another')), ...invalid },
    { name: 'what is no ciphertext', work: async () => await model('not even asked for').unwrap({ ...wrapped, encryptedKey: Buffer.from('vault:v1:é') }, statement), ...invalid },
    { name: 'no such key', work: async () => await model(rootToken, 'none').wrap(key, statement), code: unavailable, reason: 'store-missing' },
    { name: 'wrong token', work: async () => await model('hvs.none').wrap(key, statement), code: unavailable, reason: 'store-denied' },
    { name: 'no token', work: async () => await model('two words').wrap(key, statement), code: unavailable, reason: 'secret-no-text' },
    { name: 'no token of a pod', work: async () => await vaultSecret(clientOf(t, { url: double.url, login: { kubernetes: { role: 'model-guard' } } }), 'secret/model-guard', 'pepper').read(), code: unavailable, reason: 'secret-file' },
    { name: 'sealed', work: during(() => ({ status: 503, body: echo }), unwrap), code: unavailable, reason: 'store-busy' },
    { name: 'slow', work: during(() => ({ status: 0, body: '' }), unwrapSoon), code: unavailable, reason: 'store-slow' },
    { name: 'slow after the login', work: during((path) => path.startsWith('transit') ? { status: 0, body: '' } : undefined, unwrapSoon), code: unavailable, reason: 'store-slow' },
    { name: 'garbage', work: during(() => ({ status: 200, body: `<${echo}` }), unwrap), code: unavailable, reason: 'store-garbage' },
    { name: 'garbage of a key', work: during((path) => path.startsWith('transit') ? { status: 200, body: echo } : undefined, unwrap), code: unavailable, reason: 'store-garbage' },
    { name: 'another status', work: during(() => ({ status: 412, body: echo }), unwrap), code: unavailable, reason: 'store-refused' },
    {
      name: 'revoked token',
      work: async () => {
        const revoked = model(revokedToken)
        await revoked.unwrap(wrapped, statement)
        await place.revokeAll()
        await revoked.unwrap(wrapped, statement)
      },
      code: unavailable,
      reason: 'store-denied'
    },
    {
      name: 'expired token',
      work: async () => {
        double.ahead += 61_000
        await ended.unwrap(wrapped, statement)
      },
      code: unavailable,
      reason: 'store-denied'
    },
    {
      name: 'down',
      work: async () => {
        double.stop()
        await unwrap()
      },
      code: unavailable,
      reason: 'store-unreachable'
    }
  ], [token, revokedToken, rootToken, key, 'sesame', Buffer.from(wrapped.encryptedKey).toString()])
})

interface Kept {
  readonly hand: ReturnType<typeof handSchedule>
  readonly double: VaultDouble
  readonly place: PreparedVault
  readonly read: () => Promise<unknown>
  readonly close: () => Promise<void>
  /** Lets time pass here and there. */
  readonly pass: (milliseconds: number) => void
  /** Runs what is due, until as much waits again. */
  readonly refresh: () => Promise<void>
  /** What was asked since the last time. */
  readonly asked: () => readonly string[]
}

/** A client of the double, whose time both share. */
async function keeping (t: Test, login: (place: PreparedVault) => Promise<VaultOptions['login']>): Promise<Kept> {
  const [double, hand] = [await vaultDouble(t), handSchedule()]
  const place = await prepareVault(t, double)
  let now = 0
  const client = clientOf(t, { url: double.url, login: await login(place), later: hand.schedule, clock: () => now, maxAttempts: 1 })
  const secret = vaultSecret(client, 'secret/model-guard', 'pepper')
  await secret.read()
  double.asked.length = 0
  return {
    hand,
    double,
    place,
    read: async () => await secret.read(),
    close: async () => { await client.close() },
    pass (milliseconds) {
      now += milliseconds
      double.ahead += milliseconds
    },
    refresh: async () => {
      hand.run()
      await until(() => hand.delays.length === 1)
    },
    asked: () => double.asked.splice(0)
  }
}

const appRoleOf = async (place: PreparedVault): Promise<VaultOptions['login']> => ({ appRole: { roleId: place.roleId, secretId: given(await place.newSecretId()) } })

t.test('a token that is renewed as long as it can be is replaced before it ends', async (t) => {
  const kept = await keeping(t, appRoleOf)
  for (const [passed, asked, nextMs] of [[2_400_000, 'renew-self', 2_400_000], [2_400_000, 'renew-self', 1_599_000], [1_599_000, 'login', 2_400_000]] as const) {
    kept.pass(passed)
    await kept.refresh()
    t.match(kept.asked(), [new RegExp(`POST auth/.*/${asked}$`)])
    t.ok(Math.abs((kept.hand.delays[0] ?? 0) - nextMs) < 2000, `${kept.hand.delays[0] ?? 0}`)
  }
  await kept.read()
  t.strictSame(kept.asked(), ['GET secret/data/model-guard'])
})

t.test('a renewal that fails is tried again while the token lives, and nobody is told but who asks after that', async (t) => {
  const kept = await keeping(t, appRoleOf)
  kept.double.instead = () => ({ status: 500, body: '' })
  kept.pass(2_400_000)
  await kept.refresh()
  t.strictSame(kept.hand.delays, [800_000])
  kept.double.instead = undefined
  await kept.read()
  kept.double.instead = () => ({ status: 500, body: '' })
  kept.pass(1_200_000)
  kept.hand.run()
  await t.rejects(kept.read(), failure('store-busy'))
  t.strictSame(kept.hand.delays, [])
  kept.double.instead = undefined
  await kept.read()
  t.match(kept.asked().slice(-2), ['POST auth/approle/login', 'GET secret/data/model-guard'])
})

t.test('a token that ended is not sent, and one that is not renewed any more is asked for again', async (t) => {
  const kept = await keeping(t, appRoleOf)
  kept.pass(3_600_000)
  await kept.read()
  t.strictSame(kept.asked(), ['POST auth/approle/login', 'GET secret/data/model-guard'])
  await kept.place.revokeAll()
  kept.asked()
  await kept.refresh()
  t.strictSame(kept.asked(), ['POST auth/token/renew-self', 'POST auth/approle/login'])
  const fixed = await keeping(t, async (place) => ({ token: given(await place.newToken(60, { renewable: false })) }))
  await fixed.refresh()
  t.strictSame(fixed.asked(), ['GET auth/token/lookup-self'], 'it is read again, where a new one may be')
})

t.test('what a policy does not allow leads to no further login', async (t) => {
  const kept = await keeping(t, async (place) => ({ token: given(await place.newToken(3600)) }))
  const client = clientOf(t, { url: kept.double.url, login: await appRoleOf(kept.place) })
  for (let i = 0; i < 2; i++) await t.rejects(vaultSecret(client, 'secret/other', 'x').read(), failure('store-denied'))
  t.strictSame(kept.asked().filter((asked) => asked.endsWith('login')), ['POST auth/approle/login'])
})

t.test('a client that is closed while it logs in revokes what it got, and closes where there is nobody to tell', async (t) => {
  const kept = await keeping(t, appRoleOf)
  const count = await kept.place.count()
  const hand = handSchedule()
  const client = vault({ url: kept.double.url, login: await appRoleOf(kept.place), later: hand.schedule })
  // Whether it is answered is up to which of the two comes first.
  await Promise.allSettled([client.ask('secret/data/model-guard'), client.close()])
  t.strictSame(hand.delays, [])
  t.equal(await kept.place.count(), count)
  kept.double.stop()
  await kept.close()
  t.strictSame(kept.hand.delays, [])
})

t.test('a question has one time for its login and all its attempts', async (t) => {
  const double = await vaultDouble(t)
  const place = await prepareVault(t, double)
  let now = 0
  const client = clientOf(t, { url: double.url, login: await appRoleOf(place), clock: () => now, pause: async () => { await Promise.resolve() } })
  const secret = vaultSecret(client, 'secret/model-guard', 'pepper')
  await secret.read()
  await place.revokeAll()
  double.asked.length = 0
  double.instead = () => {
    now += 3000
    return double.asked.length < 4 ? undefined : { status: 503, body: '' }
  }
  await t.rejects(secret.read(), failure('store-busy'))
  t.strictSame(double.asked, ['GET secret/data/model-guard', 'GET auth/token/lookup-self', 'POST auth/approle/login', 'GET secret/data/model-guard'])
})

t.test('a lease of months is renewed once a day, which timers can hold', async (t) => {
  const hand = handSchedule()
  const keeper = tokenKeeper({ logIn: async () => await Promise.resolve({ token: 't', seconds: 8_640_000, isRenewable: true }), renew: async () => { await Promise.resolve(undefined) }, clock: () => 0, later: hand.schedule, timeoutMs: 1 })
  t.equal(await keeper.token(1), 't')
  t.strictSame(hand.delays, [86_400_000])
})

t.test('the bytes that a token came in are wiped', async (t) => {
  const bytes = Buffer.from('hvs.token\r\n')
  t.equal(await readSecretText({ read: async () => await Promise.resolve(bytes) }), 'hvs.token')
  t.ok(bytes.every((byte) => byte === 0))
})

t.test('what can be no ciphertext of the engine is not sent to it', async (t) => {
  const double = await vaultDouble(t)
  const place = await prepareVault(t, double)
  const key = vaultTransitKey(clientOf(t, { url: place.url, login: { token: given(place.rootToken) } }), { name: 'model' })
  const { encryptedKey } = await key.wrap(randomBytes(32), statement)
  const before = double.asked.length
  for (const text of ['', 'x', 'vault:v0:AAAA', 'vault:v1:', ' vault:v1:AAAA', 'vault:v1:AAAA\n', `${String(encryptedKey)}:${String(encryptedKey)}`, 'vault:v1:\xe9']) {
    await t.rejects(key.unwrap({ algorithm: key.algorithm, header: {}, encryptedKey: Buffer.from(text, 'latin1') }, statement), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' }, text)
  }
  t.equal(double.asked.length, before)
})

t.test('a secret that a login waits for for ever holds neither a question nor the end longer than their time', async (t) => {
  const place = await prepareVault(t, await vaultDouble(t))
  for (const login of [{ token: { read: async () => await new Promise<Uint8Array>(() => undefined) } }, { appRole: { roleId: 'r', secretId: { read: async () => await new Promise<Uint8Array>(() => undefined) } } }]) {
    const client = vault({ url: place.url, login, timeoutMs: 50 })
    await t.rejects(Promise.all([client.ask('secret/data/model-guard'), client.ask('secret/data/model-guard')]), failure('store-slow'))
    await client.close()
  }
})

t.test('a namespace is named in each question', async (t) => {
  const double = await vaultDouble(t, 'team/models')
  const ask = async (namespace?: string): Promise<number> => (await clientOf(t, { url: `${double.url}/`, namespace, login: { token: given(double.rootToken) } }).ask('auth/token/accessors?list=true')).status
  t.strictSame([await ask('team/models'), await ask('team'), await ask()], [200, 403, 403])
})

t.test('what is no client, path or name is refused before anybody is asked', async (t) => {
  const login = { token: given('t') }
  const wrong: readonly (readonly [detail: RegExp, work: () => unknown])[] = [
    [/vault\.url must be an https URL/, () => vault({ url: 'http://vault.example', login })],
    [/vault\.login must be exactly one of/, () => vault({ url: 'https://vault.example', login: {} })],
    [/vault\.login must be exactly one of/, () => vault({ url: 'https://vault.example', login: { ...login, jwt: { role: 'r', token: given('t') } } })],
    [/vault\.namespace/, () => vault({ url: 'https://vault.example', login, namespace: 'a\r\nb: c' })],
    [/mount must be names/, () => vault({ url: 'https://vault.example', login: { jwt: { role: 'r', token: given('t'), mount: '../sys' } } })],
    ...['secret', 'secret/', '/x', 'secret/../sys', 'secret/./x', 'secret//x', 'secret/\ud800'].map((path) =>
      [/path of a secret must be/, () => vaultSecret(vault({ url: 'https://vault.example', login }), path, 'x')] as const),
    [/member of a secret/, () => vaultSecret(vault({ url: 'https://vault.example', login }), 'secret/x', '')],
    [/key\.name must be/, () => vaultTransitKey(vault({ url: 'https://vault.example', login }), { name: '..' })]
  ]
  for (const [message, work] of wrong) t.throws(work, { code: 'FMG_ERR_OPTION_INVALID', message })
  const key = vaultTransitKey(vault({ url: 'https://vault.example', login }), { mount: 'a/b', name: 'c d', recipient: 'mine' })
  t.equal(key.keyId, 'mine')
  await t.rejects(key.wrap(randomBytes(31), statement), { code: 'FMG_ERR_OPTION_INVALID' })
  t.throws(() => readVaultPath(7, 'path'), { code: 'FMG_ERR_OPTION_INVALID' })
  t.equal(readVaultPath('a b/c?d#e%2f', 'path'), 'a%20b/c%3Fd%23e%252f')
})

t.test('a real one', async (t) => {
  const address = await startVault(t)
  if (address === undefined) t.pass('# skip: neither bao nor vault is here; FMG_PEERS=all npm test builds one', { skip: true })
  else await suite(t, await prepareVault(t, address))
})
