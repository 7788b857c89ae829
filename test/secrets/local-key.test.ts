import { createSecretKey, createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { chmod, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { FlattenedEncrypt, GeneralEncrypt, flattenedDecrypt } from 'jose'
import fc from 'fast-check'
import t from 'tap'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { readJwkText } from '../../src/secrets/jwk-text.ts'
import { localKey, type LocalKeyAlgorithm } from '../../src/secrets/local-key.ts'

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const oct = createSecretKey(randomBytes(32))

const keys: readonly { algorithm: LocalKeyAlgorithm, wrapping: KeyObject, unwrapping: KeyObject }[] = [
  { algorithm: 'A256KW', wrapping: oct, unwrapping: oct },
  { algorithm: 'RSA-OAEP-256', wrapping: rsa.publicKey, unwrapping: rsa.privateKey },
  { algorithm: 'ECDH-ES+A256KW', wrapping: ec.publicKey, unwrapping: ec.privateKey }
]

// These algorithms have no place for associated data: the envelope around binds it.
const whatever = randomBytes(8)

const refused = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' }

function jwkOf (key: KeyObject, algorithm: string): object {
  return { ...key.export({ format: 'jwk' }), kid: 'k1', alg: algorithm }
}

function base64url (bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}

for (const { algorithm, wrapping, unwrapping } of keys) {
  const plain = randomBytes(32)

  t.test(`${algorithm} opens what it wrapped, from a JWK and from a key object`, async (t) => {
    for (const provider of [localKey({ jwk: jwkOf(unwrapping, algorithm) }), localKey({ keyId: 'k1', algorithm, key: unwrapping })]) {
      t.match(provider, { keyId: 'k1', algorithm })
      const wrapped = await provider.wrap(plain, whatever)
      t.equal(wrapped.algorithm, algorithm)
      t.same(await provider.unwrap(wrapped, whatever), plain)
    }
  })

  t.test(`${algorithm} wraps for jose, and opens what jose wrapped`, async (t) => {
    const jwe = await new FlattenedEncrypt(plain).setProtectedHeader({ enc: 'A256GCM' }).setUnprotectedHeader({ alg: 'dir' }).encrypt(plain)
    const wrapped = await localKey({ keyId: 'k1', algorithm, key: wrapping }).wrap(plain, whatever)
    const header = { alg: algorithm, ...wrapped.header }
    const opened = await flattenedDecrypt({ ...jwe, header, encrypted_key: base64url(wrapped.encryptedKey) }, unwrapping)
    t.same(Buffer.from(opened.plaintext), plain)

    const general = await new GeneralEncrypt(plain).setProtectedHeader({ enc: 'A256GCM' })
      .addRecipient(wrapping).setUnprotectedHeader({ alg: algorithm })
      .addRecipient(createSecretKey(randomBytes(32))).setUnprotectedHeader({ alg: 'A256KW' }).encrypt()
    const recipient = general.recipients[0]
    const { alg, ...added } = { ...recipient?.header }
    t.equal(alg, algorithm)
    const encryptedKey = Buffer.from(recipient?.encrypted_key ?? '', 'base64url')
    const key = await localKey({ keyId: 'k1', algorithm, key: unwrapping }).unwrap({ algorithm, header: added, encryptedKey }, whatever)
    const { recipients, ...content } = general
    const read = await flattenedDecrypt({ ...content, header: { alg: 'dir' } }, key)
    t.same(Buffer.from(read.plaintext), plain)
  })

  t.test(`${algorithm} does not open what was wrapped for another key, or was changed`, async (t) => {
    const provider = localKey({ keyId: 'k1', algorithm, key: unwrapping })
    const wrapped = await provider.wrap(plain, whatever)
    const changed = Buffer.from(wrapped.encryptedKey)
    changed.writeUInt8(changed.readUInt8(3) ^ 1, 3)
    await t.rejects(provider.unwrap({ ...wrapped, encryptedKey: changed }, whatever), refused)
    await t.rejects(provider.unwrap({ ...wrapped, encryptedKey: wrapped.encryptedKey.subarray(8) }, whatever), refused)
    await t.rejects(provider.unwrap({ ...wrapped, encryptedKey: Buffer.alloc(0) }, whatever), refused)
    await t.rejects(provider.unwrap({ ...wrapped, header: { ...wrapped.header, apu: 'QQ' } }, whatever), refused)
  })

  t.test(`${algorithm} wraps 32 bytes and nothing else`, async (t) => {
    for (const length of [0, 31, 33, 64]) await t.rejects(localKey({ keyId: 'k1', algorithm, key: wrapping }).wrap(Buffer.alloc(length), whatever), { code: 'FMG_ERR_OPTION_INVALID' })
  })
}

t.test('a public key wraps but does not unwrap', async (t) => {
  for (const { algorithm, wrapping } of keys.slice(1)) {
    const provider = localKey({ jwk: jwkOf(wrapping, algorithm) })
    const wrapped = await provider.wrap(randomBytes(32), whatever)
    await t.rejects(provider.unwrap(wrapped, whatever), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'public-key-only' })
  }
})

t.test('a point that is not on the curve agrees on nothing', async (t) => {
  const provider = localKey({ keyId: 'k1', algorithm: 'ECDH-ES+A256KW', key: ec.privateKey })
  const wrapped = await provider.wrap(randomBytes(32), whatever)
  const point = { kty: 'EC', crv: 'P-256', x: base64url(Buffer.alloc(32, 1)), y: base64url(Buffer.alloc(32, 2)) }
  await t.rejects(provider.unwrap({ ...wrapped, header: { epk: point } }, whatever), refused)
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
  await t.rejects(provider.unwrap({ ...wrapped, header: { epk: own } }, whatever), refused, 'nor does a private key in the header')
})

t.test('a key that does not fit its algorithm is refused', async (t) => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const bad: readonly { algorithm: LocalKeyAlgorithm, key: KeyObject }[] = [
    { algorithm: 'A256KW', key: createSecretKey(randomBytes(16)) },
    { algorithm: 'A256KW', key: rsa.publicKey },
    { algorithm: 'RSA-OAEP-256', key: small.publicKey },
    { algorithm: 'RSA-OAEP-256', key: ec.publicKey },
    { algorithm: 'RSA-OAEP-256', key: oct },
    { algorithm: 'ECDH-ES+A256KW', key: other.publicKey },
    { algorithm: 'ECDH-ES+A256KW', key: rsa.privateKey }
  ]
  for (const { algorithm, key } of bad) t.throws(() => localKey({ keyId: 'k1', algorithm, key }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a JWK that lacks a name, an algorithm or a part of its key is refused, and its key is not quoted', async (t) => {
  const jwk = { kty: 'oct', k: base64url(randomBytes(32)), kid: 'k1', alg: 'A256KW' }
  const bad = [
    { ...jwk, kid: undefined }, { ...jwk, alg: 'dir' }, { ...jwk, alg: 'PBES2-HS256+A128KW' }, { ...jwk, use: 'sig' }, { ...jwk, kty: 'OKP' },
    { ...jwk, k: 'not base64url!' }, { ...jwk, k: undefined }, { kty: 'EC', crv: 'P-256', d: jwk.k, kid: 'k1', alg: 'ECDH-ES+A256KW' }
  ]
  for (const value of bad) {
    const error = t.throws(() => localKey({ jwk: value }), { code: 'FMG_ERR_OPTION_INVALID' })
    t.notMatch(JSON.stringify(error), jwk.k)
  }
  t.ok(localKey({ jwk: { ...jwk, key_ops: ['wrapKey'], x5t: 'ignored' } }), 'what RFC 7517 lets others add is ignored')
})

t.test('a key file opens what its public half wrapped', async (t) => {
  const folder = t.testdir({
    'private.json': JSON.stringify(jwkOf(ec.privateKey, 'ECDH-ES+A256KW')),
    'public.json': JSON.stringify(jwkOf(createPublicKey(ec.privateKey), 'ECDH-ES+A256KW'))
  })
  await chmod(path.join(folder, 'private.json'), 0o600)
  await chmod(path.join(folder, 'public.json'), 0o644)
  const [holder, anybody]: readonly KeyProvider[] = await Promise.all(['private.json', 'public.json'].map(async (name) => await keyFromFile(path.join(folder, name))))
  const plain = randomBytes(32)
  const wrapped = await anybody?.wrap(plain, whatever)
  if (wrapped !== undefined) t.same(await holder?.unwrap(wrapped, whatever), plain)
})

t.test('a private key that others may read is refused; so is a file without a key', async (t) => {
  const folder = t.testdir({ 'ec.json': JSON.stringify(jwkOf(ec.privateKey, 'ECDH-ES+A256KW')), 'oct.json': JSON.stringify(jwkOf(oct, 'A256KW')), 'text.json': 'secret text', 'null.json': 'null', 'number.json': '5' })
  for (const name of ['ec.json', 'oct.json']) {
    await chmod(path.join(folder, name), 0o640)
    await t.rejects(keyFromFile(path.join(folder, name)), { code: 'FMG_ERR_FILE', message: /chmod 600/ })
  }
  for (const name of ['text.json', 'null.json', 'number.json']) {
    const error = await t.rejects(keyFromFile(path.join(folder, name)), { code: 'FMG_ERR_FILE', message: /holds no JSON Web Key/ })
    t.notMatch(String(error), 'secret text')
  }
  await t.rejects(keyFromFile(path.join(folder, 'none.json')), { code: 'FMG_ERR_FILE', message: /cannot read/ })
  await writeFile(path.join(folder, 'none.json'), '{}')
  await t.rejects(keyFromFile(path.join(folder, 'none.json')), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('the secret of a JSON Web Key is taken out of its text, however that is written, and the text is overwritten', async (t) => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 70 }), fc.stringMatching(/^[ \t\r\n]{0,3}$/), (secret, space) => {
    const text = Buffer.from(`{"kid":"k","kty":"oct",${space}"k"${space}:${space}"${base64url(secret)}"${space}}`)
    const read = readJwkText(text)
    t.same(read?.k, Buffer.from(secret))
    t.same(read?.jwk, { kid: 'k', kty: 'oct', k: undefined })
    t.ok(text.every((byte) => byte === 0))
  }))
  const left: Readonly<Record<string, unknown>> = {
    'no secret': { kty: 'EC', kid: 'k' },
    'one in another member first': { x: { k: 'AAAA' }, k: 'BBBB' },
    'one that is no base64url': { k: 'a b' },
    'none that is a text': { k: 5 },
    'an empty one': { k: '' }
  }
  for (const [name, jwk] of Object.entries(left)) t.same(readJwkText(Buffer.from(JSON.stringify(jwk))), { jwk }, name)
  t.same(readJwkText(Buffer.from('{"k":"AAAA","\\u006b":"BBBB"}')), { jwk: { k: 'BBBB' } }, 'the last counts, as for everybody who reads it')
  for (const text of ['', '"k":"AAAA"', '{"k":"AAAA"', '{"k":"AAAA', '{"k', '[', 'null', '5']) t.equal(readJwkText(Buffer.from(text)), undefined, text)
})
