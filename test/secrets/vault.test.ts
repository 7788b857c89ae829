import { randomBytes } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { vaultSecret } from '../../src/secrets/vault-secret.ts'
import { vaultTransitKey } from '../../src/secrets/vault-transit-key.ts'
import { vault, type Vault, type VaultOptions } from '../../src/secrets/vault.ts'
import { handSchedule } from '../helpers/hand-schedule.ts'
import { until } from '../helpers/until.ts'
import { vaultDouble } from '../helpers/vault-double.ts'
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
    await place.admin('POST', 'secret/data/model-guard', { data: { pepper: 'sésame', size: 7 } })
    t.equal(Buffer.from(await secret.read()).toString(), 'sésame')
    t.equal((await secret.version()).version, before.version + 1)
    await place.admin('POST', 'secret/data/model-guard', { data: { pepper: 'sesame', size: 7 } })
  })

  await t.test('what is not there, or not allowed, is said as that', async (t) => {
    const client = clientOf(t, { url, login: { appRole: await appRole() } })
    const root = clientOf(t, { url, login: { token: given(place.rootToken) } })
    await t.rejects(vaultSecret(client, 'secret/other', 'pepper').read(), failure('store-denied'))
    await t.rejects(vaultSecret(root, 'secret/none', 'pepper').read(), failure('store-missing'))
    for (const member of ['none', 'size', '__proto__']) await t.rejects(vaultSecret(client, 'secret/model-guard', member).read(), failure('store-missing'), member)
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
    await secret.read()
    t.equal(await place.count(), none + 1, 'logged in again after a 403')
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

t.test('a real one', async (t) => {
  const address = await startVault(t)
  if (address === undefined) t.pass('# skip: neither bao nor vault is here; FMG_PEERS=all builds one', { skip: true })
  else await suite(t, await prepareVault(t, address))
})
