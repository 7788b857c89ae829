import { spawnSync } from 'node:child_process'
import { createPublicKey, createSecretKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { formatVerifierKey } from '../../src/audit/note.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { localKey, type LocalKeyAlgorithm } from '../../src/secrets/local-key.ts'
import { importDriver } from '../../src/secrets/pkcs11-driver.ts'
import { pkcs11Key } from '../../src/secrets/pkcs11-key.ts'
import { parsePkcs11Uri } from '../../src/secrets/pkcs11-uri.ts'
import { pkcs11Signer } from '../../src/secrets/pkcs11-signer.ts'
import type { Pkcs11Options } from '../../src/secrets/pkcs11-token.ts'
import { secretStores } from '../../src/secrets/secret-stores.ts'
import type { SecretSource } from '../../src/secrets/secret-source.ts'
import { verifySignature } from '../../src/secrets/signer.ts'
import { append, openTestLog, origin, record } from '../audit/log-fixture.ts'
import { manifestOf, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'
import { softModule } from '../helpers/soft-token.ts'
import { templatesOf, type PlacedKey } from '../helpers/token-objects.ts'
import { softHsmWorld, softWorld, type TokenWorld } from '../helpers/token-world.ts'

const pinText = 'correct-pin'
const none = Buffer.alloc(0)
const some = Buffer.from('some')
const curve = (namedCurve: string): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey
const keys = {
  aes: createSecretKey(randomBytes(32)),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ec: curve('P-256'),
  p384: curve('P-384'),
  p521: curve('P-521'),
  ed: generateKeyPairSync('ed25519').privateKey
}
const placed: PlacedKey[] = [
  ...Object.entries(keys).map(([label, key], index) => ({ label, key, id: index + 1 })),
  { label: 'aes-128', id: 10, key: createSecretKey(randomBytes(16)) },
  { label: 'public', id: 11, key: keys.ec, halves: 'public' },
  { label: 'private', id: 12, key: keys.ec, halves: 'private' },
  { label: 'rsa-private', id: 13, key: keys.rsa, halves: 'private' },
  { label: 'twice', id: 14, key: keys.ec },
  { label: 'twice', id: 15, key: keys.p384 },
  { label: 'planted', id: 16, key: keys.ec, halves: 'private' },
  { label: 'planted', id: 16, key: curve('P-256'), halves: 'public' },
  { label: 'no-derive', id: 17, key: keys.ec, derive: false },
  { label: 'rsa-planted', id: 18, key: keys.rsa, halves: 'private' },
  { label: 'rsa-planted', id: 18, key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, halves: 'public' },
  { label: 'k1', id: 19, key: curve('secp256k1'), halves: 'public' }
]

function pin (text: string): SecretSource {
  return { read: async () => Buffer.from(text) }
}

/** Options for a key of this world's token. */
function asker (world: TokenWorld): (named: string, more?: Partial<Pkcs11Options>) => Pkcs11Options {
  return (named, more = {}) => ({ uri: `pkcs11:token=guard;${named}?module-path=${world.modulePath}`, pin: pin(pinText), driver: world.driver, ...more })
}

interface Refusal { code: string | RegExp, reason?: string, message?: RegExp, cause?: { message: RegExp } }

function unavailable (reason: string, message = /./): Refusal {
  return { code: 'FMG_ERR_KEY_UNAVAILABLE', reason, cause: { message } }
}

const notOpened = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' }

function suite (t: Test, world: TokenWorld): void {
  const asked = asker(world)
  world.makeToken('guard', pinText)
  world.makeToken('other', 'other-pin')
  world.place('guard', pinText, placed)

  const pairs: [string, LocalKeyAlgorithm][] = [['rsa', 'RSA-OAEP-256'], ['ec', 'ECDH-ES+A256KW'], ['rsa-private', 'RSA-OAEP-256']]
  for (const [name, algorithm] of pairs.filter(([, algorithm]) => world.hasOaepSha256 || algorithm !== 'RSA-OAEP-256')) {
    t.test(`${name}: what anybody sealed with the public half, the token opens, and the reverse`, async (t) => {
      const key = await pkcs11Key(asked(`object=${name}`))
      t.match(key, { keyId: `pkcs11:token=guard;object=${name}`, algorithm })
      const plain = randomBytes(32)
      const held = name === 'ec' ? keys.ec : keys.rsa
      const anybody = localKey({ keyId: key.keyId, algorithm, key: createPublicKey(held) })
      t.same(await key.unwrap(await anybody.wrap(plain, none), none), plain)
      t.same(await localKey({ keyId: key.keyId, algorithm, key: held }).unwrap(await key.wrap(plain, none), none), plain)
      t.same(await key.unwrap(await key.wrap(plain, none), none), plain, 'and once more, when it is proven that the halves belong together')
      const wrapped = await key.wrap(plain, none)
      await t.rejects(key.unwrap({ ...wrapped, header: { ...wrapped.header, apu: 'QQ' } }, none), notOpened)
      await t.rejects(key.unwrap({ ...wrapped, encryptedKey: randomBytes(wrapped.encryptedKey.length) }, none), notOpened)
      await t.rejects(key.unwrap({ ...wrapped, encryptedKey: none }, none), notOpened)
      await t.rejects(key.unwrap(await localKey({ keyId: key.keyId, algorithm, key: createPublicKey(name === 'ec' ? curve('P-256') : generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey) }).wrap(plain, none), none), notOpened, 'sealed for another')
      t.same(await key.unwrap(wrapped, none), plain, 'and a refusal leaves the session as it was')
      await key.close()
    })
  }

  t.test('a token that has no OAEP with SHA-256 seals nothing that it could not open', async (t) => {
    if (world.hasOaepSha256) return
    const key = await pkcs11Key(asked('object=rsa'))
    await t.rejects(key.wrap(randomBytes(32), none), unavailable('token-refused', /CKR_/))
    const anybody = localKey({ keyId: 'rsa', algorithm: 'RSA-OAEP-256', key: createPublicKey(keys.rsa) })
    await t.rejects(key.unwrap(await anybody.wrap(randomBytes(32), none), none), unavailable('token-refused', /CKR_/))
    await key.close()
  })

  t.test('a secret key wraps and unwraps as one in this process does', async (t) => {
    const key = await pkcs11Key(asked('object=aes;type=secret-key'))
    t.equal(key.algorithm, 'A256KW')
    const local = localKey({ keyId: 'aes', algorithm: 'A256KW', key: keys.aes })
    const plain = randomBytes(32)
    const wrapped = await key.wrap(plain, none)
    t.same(await local.unwrap(wrapped, none), plain)
    t.same(await key.unwrap(await local.wrap(plain, none), none), plain)
    const changed = Buffer.from(wrapped.encryptedKey)
    changed.writeUInt8(changed.readUInt8(5) ^ 1, 5)
    await t.rejects(key.unwrap({ ...wrapped, encryptedKey: changed }, none), notOpened)
    await t.rejects(key.unwrap({ ...wrapped, encryptedKey: changed.subarray(3) }, none), notOpened)
    await t.rejects(key.unwrap({ ...wrapped, header: { epk: 1 } }, none), notOpened)
    await t.rejects(key.wrap(randomBytes(16), none), { code: 'FMG_ERR_OPTION_INVALID' })
    await key.close()
  })

  for (const name of ['ed', 'ec', 'p384', 'p521'] as const) {
    t.test(`${name} signs models, and what it signed is the signature of its public key`, async (t) => {
      const signer = await pkcs11Signer(asked(`object=${name};type=private`, { publicKey: createPublicKey(keys[name]) }))
      const [own] = [await pkcs11Signer(asked(`object=${name}`))]
      t.ok(own.publicKey.equals(createPublicKey(keys[name])), 'the token says which')
      // Now and then r or s is shorter, or has a first bit that DER keeps free.
      for (const data of Array.from({ length: 20 }, () => randomBytes(100))) t.ok(verifySignature(signer.publicKey, data, await signer.sign(data)))
      if (name !== 'ed') {
        const directory = await writeFiles(path.join(t.testdir({}), name), { 'model.onnx': addModel(), 'model.json': manifestOf() })
        await signModel({ directory, signer })
        t.ok(await verifyModel({ model: directory, trust: { keys: [signer.publicKey], authorities: [] } }))
        await t.rejects(verifyModel({ model: directory, trust: { keys: [createPublicKey(curve('P-256'))], authorities: [] } }), { code: 'FMG_ERR_SIGNER_UNTRUSTED' })
      }
      await Promise.all([signer.close(), own.close()])
    })
  }

  t.test('checkpoints of a log are signed by a token', async (t) => {
    const signer = await pkcs11Signer(asked('id=%06'))
    const directory = path.join(t.testdir({}), 'log')
    const log = await openTestLog(directory, { signer })
    for (const index of [1, 2, 3]) await append(log, record(index))
    await log.close()
    await signer.close()
    t.match(await verifyLog({ directory, verifierKey: formatVerifierKey(origin, createPublicKey(keys.ed)) }), { ok: true, problems: [] })
    const other = generateKeyPairSync('ed25519').publicKey
    t.notOk((await verifyLog({ directory, verifierKey: formatVerifierKey(origin, other) })).ok)
  })

  t.test('work for one key is done in turn, however much is asked at once', async (t) => {
    const [signer, key] = [await pkcs11Signer(asked('object=ec')), await pkcs11Key(asked('object=ec'))]
    const plain = randomBytes(32)
    const wrapped = await key.wrap(plain, none)
    const [signatures, opened] = await Promise.all([
      Promise.all(Array.from({ length: 10 }, async (_, index) => await signer.sign(Buffer.of(index)))),
      Promise.all(Array.from({ length: 10 }, async () => await key.unwrap(wrapped, none)))
    ])
    t.ok(signatures.every((signature, index) => verifySignature(signer.publicKey, Buffer.of(index), signature)))
    t.ok(opened.every((bytes) => plain.equals(bytes)))
    await Promise.all([signer.close(), key.close()])
  })

  t.test('a lost session, and a module that was finalized, are opened again with the PIN', async (t) => {
    const signer = await pkcs11Signer(asked('object=ed'))
    for (const lose of [() => { world.endSessions('guard') }, () => { world.finalize() }]) {
      lose()
      t.ok(verifySignature(signer.publicKey, some, await signer.sign(some)))
    }
    await signer.close()
  })

  t.test('a token that is gone is said to be, and used again when it is back', async (t) => {
    const key = await pkcs11Key(asked('object=aes'))
    const wrapped = await key.wrap(randomBytes(32), none)
    world.takeAway('guard')
    await t.rejects(key.unwrap(wrapped, none), unavailable('token-missing'))
    await t.rejects(pkcs11Key(asked('object=aes')), unavailable('token-missing'))
    world.putBack('guard')
    t.equal((await key.unwrap(wrapped, none)).length, 32)
    await key.close()
  })

  t.test('what is not found, found twice or of another kind is refused', async (t) => {
    const bad: [string, Refusal][] = [
      ['object=none', unavailable('key-missing')],
      ['object=twice', unavailable('key-ambiguous')],
      ['object=aes;type=public', unavailable('key-missing')],
      ['object=aes;id=%09', unavailable('key-missing')],
      ['object=aes-128', { code: 'FMG_ERR_OPTION_INVALID', message: /256 bits/ }],
      ['object=private', { code: 'FMG_ERR_OPTION_INVALID', message: /publicKey/ }],
      ['object=p384', { code: 'FMG_ERR_OPTION_INVALID' }],
      ['object=ed', { code: 'FMG_ERR_OPTION_INVALID' }],
      ['object=k1', { code: 'FMG_ERR_OPTION_INVALID' }]
    ]
    for (const [named, error] of bad) await t.rejects(pkcs11Key(asked(named)), error, named)
    for (const named of ['object=rsa', 'object=aes']) await t.rejects(pkcs11Signer(asked(named)), { code: 'FMG_ERR_OPTION_INVALID' }, named)
    await t.rejects(pkcs11Signer(asked('object=public')), unavailable('public-key-only'))
    const twice = await pkcs11Key(asked('object=twice;id=%0E'))
    await twice.close()
    const given = await pkcs11Key(asked('object=private', { publicKey: createPublicKey(keys.ec) }))
    t.equal((await given.unwrap(await given.wrap(randomBytes(32), none), none)).length, 32)
    await given.close()
    await t.rejects(pkcs11Key({ ...asked(''), uri: `pkcs11:object=aes?module-path=${world.modulePath}` }), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: /^(token-ambiguous|key-missing)$/ }, 'of two tokens none is taken')
  })

  t.test('a public half seals and opens nothing, with a PIN and without', async (t) => {
    for (const more of [{}, { pin: undefined }]) {
      const key = await pkcs11Key(asked('object=ec;type=public', more))
      const wrapped = await key.wrap(randomBytes(32), none)
      t.equal((await localKey({ keyId: 'ec', algorithm: 'ECDH-ES+A256KW', key: keys.ec }).unwrap(wrapped, none)).length, 32)
      await t.rejects(key.unwrap(wrapped, none), unavailable('public-key-only'))
      await key.close()
    }
    await t.rejects(pkcs11Key(asked('object=aes', { pin: undefined })), unavailable('key-missing'), 'the rest is not to be seen without')
  })

  t.test('nothing is sealed for, and no signature given under, a public key that is not the private one\'s', async (t) => {
    const key = await pkcs11Key(asked('object=planted'))
    await t.rejects(key.wrap(randomBytes(32), none), unavailable('public-key-other'))
    await t.rejects(key.wrap(randomBytes(32), none), unavailable('public-key-other'), 'ever')
    const signer = await pkcs11Signer(asked('object=planted'))
    await t.rejects(signer.sign(some), unavailable('signature-wrong'))
    await Promise.all([key.close(), signer.close()])
  })

  t.test('a key that may not be used for this is unavailable, and not a bundle that is bad', async (t) => {
    const key = await pkcs11Key(asked('object=no-derive'))
    const wrapped = await localKey({ keyId: 'ec', algorithm: 'ECDH-ES+A256KW', key: createPublicKey(keys.ec) }).wrap(randomBytes(32), none)
    await t.rejects(key.unwrap(wrapped, none), unavailable('token-refused', /CKR_/))
    await t.rejects(key.wrap(randomBytes(32), none), unavailable('token-refused'))
    await key.close()
  })

  t.test('a PIN that was refused is not tried again, and another is', async (t) => {
    world.makeToken('pins', 'right-pin')
    world.place('pins', 'right-pin', [{ label: 'ed', id: 1, key: keys.ed }])
    let text = 'wrong-pin'
    let reads = 0
    const source: SecretSource = { read: async () => { reads++; return Buffer.from(text) } }
    const uri = `pkcs11:token=pins;object=ed?module-path=${world.modulePath}`
    for (const detail of [/and is not asked again with it/, /before/, /before/]) {
      const error = await t.rejects(pkcs11Signer({ uri, pin: source, driver: world.driver }), unavailable('pin-refused', detail))
      t.notMatch(JSON.stringify([String(error), error, Reflect.get(Object(error), 'cause')]), 'wrong-pin')
    }
    text = 'right-pin\n'
    const signer = await pkcs11Signer({ uri, pin: source, driver: world.driver })
    t.ok(verifySignature(signer.publicKey, some, await signer.sign(some)), 'of which a line feed is no part')
    t.equal(reads, 4)
    await signer.close()
  })

  t.test('a module that is not there is named', async (t) => {
    await t.rejects(pkcs11Key({ ...asked(''), uri: 'pkcs11:object=aes?module-path=/no/such/module.so' }), unavailable('module-missing', /\/no\/such\/module\.so/))
  })

  t.test('a key that was closed is not used', async (t) => {
    const key = await pkcs11Key(asked('object=aes'))
    await key.close()
    await key.close()
    await t.rejects(key.unwrap({ algorithm: 'A256KW', header: {}, encryptedKey: none }, none), unavailable('key-closed'))
  })
}

t.test('tokens in this process', async (t) => { suite(t, softWorld()) })

const real = softHsmWorld(t.testdir({}))
t.test('tokens of SoftHSM2', { skip: real === undefined && 'SoftHSM2 or pkcs11js cannot be had here' }, async (t) => { if (real !== undefined) suite(t, real) })

/** A module with a token that holds these keys, and what to change of it. */
function fresh (): { module: ReturnType<typeof softModule>, token: ReturnType<ReturnType<typeof softModule>['addToken']>, asked: (named: string, more?: Partial<Pkcs11Options>) => Pkcs11Options } {
  const module = softModule('/soft/module.so')
  const token = module.addToken('guard', pinText)
  module.place('guard', placed.flatMap(templatesOf))
  return { module, token, asked: asker({ ...softWorld(), driver: module.driver }) }
}

t.test('a token that another wrong PIN would lock, or that is locked, is not shown one', async (t) => {
  const { token, asked } = fresh()
  const flags = token.info.flags
  for (const [flag, reason] of [[0x20000, 'pin-final-try'], [0x40000, 'pin-locked']] as const) {
    token.info.flags = flags | flag
    await t.rejects(pkcs11Key(asked('object=aes')), unavailable(reason))
  }
  t.equal(token.logins, 0)
  token.info.flags = flags
  await (await pkcs11Key(asked('object=aes'))).close()
  t.equal(token.logins, 1)
})

t.test('two keys of one token log in once, and load one module', async (t) => {
  const { module, token, asked } = fresh()
  const [first, second] = [await pkcs11Key(asked('object=aes')), await pkcs11Signer(asked('object=ed'))]
  await first.close()
  t.ok(await second.sign(some), 'and the one that stays is not logged out')
  await second.close()
  t.same([token.logins, module.loads, module.sessions.size], [1, 1, 0])
})

t.test('what a token does not do in time is not waited for, and nothing more is asked of it until it has', async (t) => {
  const { module, asked } = fresh()
  const key = await pkcs11Key(asked('object=aes', { timeoutMs: 30 }))
  const wrapped = await key.wrap(randomBytes(32), none)
  let goOn = (): void => {}
  module.pause = new Promise((resolve) => { goOn = resolve })
  await t.rejects(key.unwrap(wrapped, none), unavailable('timed-out', /30 ms/))
  const before = module.calls.length
  await t.rejects(key.unwrap(wrapped, none), unavailable('token-busy'))
  t.equal(module.calls.length, before)
  goOn()
  await module.pause
  module.pause = undefined
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal((await key.unwrap(wrapped, none)).length, 32)
  t.equal(module.sessions.size, 1)

  module.pause = new Promise((resolve) => { goOn = resolve })
  await t.rejects(key.unwrap(wrapped, none), unavailable('timed-out'))
  await key.close()
  t.equal(module.sessions.size, 1, 'a session in which something runs is not closed')
  goOn()
  await module.pause
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(module.sessions.size, 0)
})

t.test('an answer that comes too late may also be a failure', async (t) => {
  const { module, asked } = fresh()
  const signer = await pkcs11Signer(asked('object=ed', { timeoutMs: 30 }))
  let goOn = (): void => {}
  module.pause = new Promise((resolve) => { goOn = resolve })
  await t.rejects(signer.sign(some), unavailable('timed-out'))
  module.closeAllSessions()
  goOn()
  await module.pause
  module.pause = undefined
  await new Promise((resolve) => { setImmediate(resolve) })
  t.ok(await signer.sign(some))
  await signer.close()
})

t.test('only a token that still answers says of a bundle that it is bad', async (t) => {
  const { module, asked } = fresh()
  const key = await pkcs11Key(asked('object=aes'))
  const wrapped = await key.wrap(randomBytes(32), none)
  const fails = (name: string, code: number | Error, times = 1): void => { module.failures.push({ name, code, times }) }
  fails('C_UnwrapKeyAsync', 6)
  await t.rejects(key.unwrap(wrapped, none), notOpened)
  fails('C_UnwrapKeyAsync', 5)
  fails('C_GetSessionInfo', 0xb3)
  await t.rejects(key.unwrap(wrapped, none), unavailable('token-refused', /\(5\)/))
  fails('C_UnwrapKeyAsync', 0x32, 2)
  await t.rejects(key.unwrap(wrapped, none), unavailable('token-refused', /\(50\)/), 'once more is enough')
  fails('C_UnwrapKeyAsync', 0x32)
  t.equal((await key.unwrap(wrapped, none)).length, 32)
  await key.close()

  for (const [name, code, more] of [['C_Login', 0x30, 2], ['C_Initialize', 5, 1], ['C_OpenSession', 0xb1, 1], ['C_GetAttributeValue', 0x12, 1]] as const) {
    fails(name, code, more)
    await t.rejects(pkcs11Key(asked('object=ec')), unavailable('token-refused', new RegExp(`\\(${code}\\)`)), name)
  }
  fails('C_OpenSession', new TypeError('quotes what it was given'))
  await t.rejects(pkcs11Key(asked('object=ec')), unavailable('token-refused', /TypeError$/))
  t.equal(module.sessions.size, 0)
})

t.test('points are read with and without their DER, and curves by name and by number', async (t) => {
  const { module, asked } = fresh()
  const point = createPublicKey(keys.ec).export({ format: 'der', type: 'spki' }).subarray(-65)
  const replace = (value: Buffer) => (template: ReturnType<typeof templatesOf>[number]) => template.map((attribute) => attribute.type === 0x181 ? { type: 0x181, value } : attribute)
  module.place('guard', templatesOf({ label: 'raw', id: 30, key: keys.ec, halves: 'public' }).map(replace(point)))
  module.place('guard', templatesOf({ label: 'garbage', id: 31, key: keys.ec, halves: 'public' }).map(replace(randomBytes(20))))
  const raw = await pkcs11Key(asked('object=raw'))
  const wrapped = await raw.wrap(randomBytes(32), none)
  t.equal((await localKey({ keyId: 'ec', algorithm: 'ECDH-ES+A256KW', key: keys.ec }).unwrap(wrapped, none)).length, 32)
  await raw.close()
  await t.rejects(pkcs11Key(asked('object=garbage')), unavailable('token-refused'))
  module.place('guard', templatesOf({ label: 'named', id: 32, key: keys.ed }).map((template) => template.map((attribute) =>
    attribute.type === 0x180 ? { type: 0x180, value: Buffer.from('130c656477617264733235353139', 'hex') } : attribute)))
  const named = await pkcs11Signer(asked('object=named'))
  t.ok(named.publicKey.equals(createPublicKey(keys.ed)))
  await named.close()
})

t.test('a test of the public half that the token cannot do now is not one that failed', async (t) => {
  const { module, asked } = fresh()
  const key = await pkcs11Key(asked('object=rsa-planted'))
  module.failures.push({ name: 'C_DecryptInit', code: 0x71, times: 1 })
  await t.rejects(key.wrap(randomBytes(32), none), unavailable('token-refused'))
  await t.rejects(key.wrap(randomBytes(32), none), unavailable('public-key-other'))
  await key.close()
})

t.test('a secret key that is gone from its token wraps nothing', async (t) => {
  const { token, module, asked } = fresh()
  module.place('guard', templatesOf({ label: 'aes', id: 1, key: keys.ec, halves: 'public' }))
  const key = await pkcs11Key(asked('object=aes'))
  for (const [name, { attributes }] of token.objects) if (attributes.get(3) === 'aes' && attributes.get(0) === 4) token.objects.delete(name)
  await t.rejects(key.wrap(randomBytes(32), none), unavailable('public-key-only'))
  await key.close()
})

t.test('options are checked, and the driver is asked for when it is needed', async (t) => {
  const { asked } = fresh()
  const bad = [
    { ...asked('object=aes'), timeoutMs: 0 }, { ...asked('object=aes'), driver: {} }, { ...asked('object=aes'), pin: 'text' }, { ...asked('object=aes'), slot: 1 },
    { ...asked('object=aes'), publicKey: keys.ec }, { ...asked('object=aes'), uri: 'pkcs11:object=aes?module-path=/soft/module.so&pin-source=file:/pin', pin: undefined }
  ]
  for (const options of bad) {
    const error = await t.rejects(pkcs11Key(options as Pkcs11Options), { code: 'FMG_ERR_OPTION_INVALID' })
    t.notMatch(String(error), 'text')
  }
  await t.rejects(importDriver('no-such-pkcs11js'), { code: 'FMG_ERR_OPTION_INVALID', message: /npm install pkcs11js/ })
  const commonJs = path.join(t.testdir({ 'driver.cjs': 'module.exports = { PKCS11: class { load () { throw new Error() } } }', 'other.cjs': 'module.exports = {}' }), 'driver.cjs')
  t.ok((await importDriver(commonJs)).PKCS11)
  await t.rejects(importDriver(path.join(path.dirname(commonJs), 'other.cjs')), { code: 'FMG_ERR_OPTION_INVALID' })
  // With whatever is installed: not the package, or not the module.
  await t.rejects(pkcs11Key({ uri: 'pkcs11:object=aes?module-path=/no/module.so' }), { code: /^FMG_ERR_(OPTION_INVALID|KEY_UNAVAILABLE)$/ })
})

t.test('the commands of the documentation make keys that open and sign', { skip: (real === undefined || spawnSync('pkcs11-tool').error !== undefined) && 'SoftHSM2, pkcs11js or pkcs11-tool cannot be had here' }, async (t) => {
  if (real === undefined) return
  const text = readFileSync(path.join(import.meta.dirname, '..', '..', '..', 'docs', 'secrets-pkcs11.md'), 'utf8')
  const [, commands = ''] = /```sh\n(# a token[^]*?)```/.exec(text) ?? []
  const references = Array.from(text.matchAll(/'(pkcs11:token[^']*pin-source=file:pin)'/g), ([, reference = '']) => reference.replace('/usr/lib/softhsm/libsofthsm2.so', real.modulePath))
  const folder = t.testdir({})
  const { status, stderr } = spawnSync('sh', ['-ec', commands.replaceAll('/usr/lib/softhsm/libsofthsm2.so', real.modulePath)], { cwd: folder, encoding: 'utf8' })
  t.equal(status, 0, stderr)
  // This process has the module open, with other tokens.
  real.finalize()
  process.env.SOFTHSM2_CONF = path.join(folder, 'softhsm2.conf')
  const stores = secretStores({ inFolder: (name) => path.join(folder, name), pkcs11Driver: real.driver })
  const key = await stores.key(references[0], 'models.keys[0]')()
  t.equal((await key.unwrap(await key.wrap(randomBytes(32), none), none)).length, 32)
  const signer = await stores.signer(references[1], 'audit.signer')()
  t.ok(verifySignature(signer.publicKey, some, await signer.sign(some)))
})

const module = 'module-path=/soft/module.so'

t.test('a PKCS #11 URI is read whole, and percent-decoded (RFC 7512)', (t) => {
  t.match(parsePkcs11Uri('pkcs11:token=My%20token;manufacturer=S;serial=1;model=m;object=%C3%A4&b;id=%01%ff%3B;type=private?module-path=/lib/a%20b.so&pin-source=file:/etc/pin', 'uri'), {
    keyId: 'pkcs11:token=My%20token;manufacturer=S;serial=1;model=m;object=%C3%A4&b;id=%01%ff%3B;type=private',
    token: { label: 'My token', manufacturerID: 'S', serialNumber: '1', model: 'm' },
    label: 'ä&b',
    id: Buffer.of(1, 255, 0x3b),
    type: 'private',
    modulePath: '/lib/a b.so',
    pinSource: 'file:/etc/pin'
  })
  t.end()
})

t.test('a URI that is unknown, doubled or unclear in any part is refused, and not quoted', (t) => {
  const bad: [string, RegExp][] = [
    ['pkcs11:object=a', /module-path/],
    ['pkcs11:object=a?module-path=softhsm2.so', /absolute path/],
    [`pkcs11:?${module}`, /object, id or both/],
    [`pkcs11:token=a?${module}`, /object, id or both/],
    [`pkcs11:object=a;object=b?${module}`, /object no more than once/],
    [`pkcs11:object=a?${module}&${module}`, /module-path no more than once/],
    [`pkcs11:object=a;slot-id=1?${module}`, /no attributes but/],
    [`pkcs11:object=a;x-vendor=1?${module}`, /no attributes but/],
    [`pkcs11:object=a;?${module}`, /no attributes but/],
    [`pkcs11:object=a?${module}&module-name=b`, /no attributes but/],
    [`pkcs11:object=a?${module}&pin-value=secret-1`, /pin-value/],
    [`pkcs11:object=a;pin-value=secret-1?${module}`, /pin-value/],
    [`pkcs11:object=a?${module}&PIN-VALUE=secret-1`, /pin-value/],
    ['pkcs11:nonsense?pin-value=secret-1', /pin-value/],
    [`pkcs11:object=?${module}`, /percent-encoded/],
    [`pkcs11:object=a b?${module}`, /percent-encoded/],
    [`pkcs11:object=%4?${module}`, /percent-encoded/],
    [`pkcs11:object=a/b?${module}`, /percent-encoded/],
    [`pkcs11:object=%ff?${module}`, /UTF-8/],
    [`pkcs11:object=a;type=cert?${module}`, /private, public, secret-key/],
    [`PKCS11:object=a?${module}`, /object, id or both/],
    ['https://example.com', /object, id or both/]
  ]
  for (const [uri, message] of bad) {
    const error = t.throws(() => parsePkcs11Uri(uri, 'keys.model'), { code: 'FMG_ERR_OPTION_INVALID', message }, uri)
    t.notMatch(JSON.stringify([String(error), error]), 'secret-1')
    t.match(String(error), 'keys.model')
  }
  t.end()
})

t.test('a reference names a key on a token, and where its PIN is kept', async (t) => {
  const { token, module: { driver } } = fresh()
  const folder = t.testdir({ pin: `${pinText}\n` })
  await chmod(path.join(folder, 'pin'), 0o600)
  const stores = secretStores({ inFolder: (name) => path.join(folder, name), pkcs11Driver: driver })
  const key = await stores.key(`pkcs11:token=guard;object=ec?${module}&pin-source=file:pin`, 'models.keys[0]')()
  t.match(key, { keyId: 'pkcs11:token=guard;object=ec', algorithm: 'ECDH-ES+A256KW' })
  t.equal((await key.unwrap(await key.wrap(randomBytes(32), none), none)).length, 32)
  const signer = await stores.signer(`pkcs11:token=guard;object=ed?${module}&pin-source=file:pin`, 'audit.signer')()
  t.ok(verifySignature(signer.publicKey, some, await signer.sign(some)))
  t.match(await stores.key(`pkcs11:token=guard;object=public?${module}`, 'models.keys[0]')(), { keyId: 'pkcs11:token=guard;object=public' }, 'which needs none')

  t.equal(token.logins, 1)
  for (const reference of [`pkcs11:object=ec?${module}&pin-value=1`, `pkcs11:object=ec?${module}&pin-source=1234`, `pkcs11:object=ec?${module}&pin-source=pkcs11:object=ec`, 'pkcs11:object=ec']) {
    t.throws(() => stores.key(reference, 'models.keys[0]'), { code: 'FMG_ERR_OPTION_INVALID', message: /models\.keys\[0\]/ }, reference)
    t.throws(() => stores.signer(reference, 'audit.signer'), { code: 'FMG_ERR_OPTION_INVALID' }, reference)
  }
  t.throws(() => stores.secret(`pkcs11:object=ec?${module}`, 'keys.pepper'), { code: 'FMG_ERR_OPTION_INVALID' }, 'a token gives no secrets away')
})
