import { createCipheriv, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { CompactEncrypt, generalDecrypt, GeneralEncrypt, type GeneralJWE } from 'jose'
import fc from 'fast-check'
import t from 'tap'
import { guardError } from '../../src/errors.ts'
import { openDataKey, sealDataKey } from '../../src/model/data-key.ts'
import { readEnvelope } from '../../src/model/key-envelope.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { countingKey } from '../helpers/sealed-models.ts'

const context = Buffer.from('fastify-model-guard/v1\nstatement:sha256:00')
const dataKey = randomBytes(32)
const oct = createSecretKey(randomBytes(32))
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const all = [
  localKey({ keyId: 'oct', algorithm: 'A256KW', key: oct }),
  localKey({ keyId: 'rsa', algorithm: 'RSA-OAEP-256', key: rsa.privateKey }),
  localKey({ keyId: 'ec', algorithm: 'ECDH-ES+A256KW', key: ec.privateKey })
]

const base64url = (text: string): string => Buffer.from(text).toString('base64url')

function read (envelope: unknown): ReturnType<typeof readEnvelope> {
  return readEnvelope(Buffer.from(typeof envelope === 'string' ? envelope : JSON.stringify(envelope)), 'key.jwe.json')
}

async function open (envelope: unknown, ...keys: readonly KeyProvider[]): Promise<Uint8Array> {
  return await openDataKey(read(envelope), keys, context)
}

async function parsed (...recipients: readonly KeyProvider[]): Promise<GeneralJWE & { recipients: { header: Record<string, unknown>, encrypted_key: string }[] }> {
  return JSON.parse(await sealDataKey(dataKey, recipients, context)) as GeneralJWE & { recipients: { header: Record<string, unknown>, encrypted_key: string }[] }
}

t.test('a data key opens for each of its recipients, and for jose', async (t) => {
  const envelope = await sealDataKey(dataKey, all, context)
  for (const key of all) t.same(Buffer.from(await open(envelope, key)), dataKey, key.keyId)
  for (const key of [oct, rsa.privateKey, ec.privateKey]) {
    const { plaintext, additionalAuthenticatedData } = await generalDecrypt(JSON.parse(envelope) as GeneralJWE, key)
    t.same(Buffer.from(plaintext), dataKey)
    t.same(Buffer.from(additionalAuthenticatedData ?? []), context)
  }
  t.match(read(envelope).recipients, [{ keyId: 'oct', algorithm: 'A256KW', header: {} }, { keyId: 'rsa' }, { keyId: 'ec', header: { epk: { kty: 'EC' } } }])
})

t.test('a data key that jose sealed opens', async (t) => {
  const sealed = await new GeneralEncrypt(dataKey).setProtectedHeader({ enc: 'A256GCM' }).setAdditionalAuthenticatedData(context)
    .addRecipient(oct).setUnprotectedHeader({ alg: 'A256KW', kid: 'oct' })
    .addRecipient(rsa.publicKey).setUnprotectedHeader({ alg: 'RSA-OAEP-256', kid: 'rsa' })
    .addRecipient(ec.publicKey).setUnprotectedHeader({ alg: 'ECDH-ES+A256KW', kid: 'ec' }).encrypt()
  for (const key of all) t.same(Buffer.from(await open(sealed, key)), dataKey, key.keyId)
})

t.test('a data key does not open for another key of the same name, nor for none', async (t) => {
  const envelope = await sealDataKey(dataKey, all, context)
  await t.rejects(open(envelope, countingKey('oct')), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
  await t.rejects(open(envelope, countingKey('other')), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  await t.rejects(open(envelope), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
})

t.test('a data key of another model is refused before any key is asked for', async (t) => {
  const key = countingKey('oct', oct)
  const envelope = await sealDataKey(dataKey, all, Buffer.from('another model'))
  await t.rejects(open(envelope, key), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'key-of-another-model' })
  t.equal(key.calls, 0)
  const renamed = { ...JSON.parse(envelope) as GeneralJWE, aad: context.toString('base64url') }
  await t.rejects(open(renamed, key), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'data-key' }, 'nor does it open under our name')
})

t.test('the algorithm is the key\'s, whatever the file says', async (t) => {
  const key = countingKey('oct', oct)
  const envelope = await parsed(key)
  for (const alg of ['A128KW', 'RSA-OAEP', 'ECDH-ES+A256KW']) {
    const other = { ...envelope, recipients: envelope.recipients.map((recipient) => ({ ...recipient, header: { ...recipient.header, alg } })) }
    await t.rejects(open(other, key), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'algorithm' })
  }
  t.equal(key.calls, 0)
})

t.test('the next key is tried while one cannot be reached, and only then', async (t) => {
  const away: KeyProvider = { keyId: 'away', algorithm: 'A256KW', wrap: async () => ({ algorithm: 'A256KW', header: {}, encryptedKey: randomBytes(40) }), unwrap: async () => await Promise.reject(guardError('FMG_ERR_KEY_UNAVAILABLE')) }
  const [near] = all
  if (near === undefined) return
  const envelope = await sealDataKey(dataKey, [away, near], context)
  t.same(Buffer.from(await open(envelope, away, near)), dataKey)
  await t.rejects(open(envelope, away), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
  await t.rejects(open(envelope, away, countingKey('other')), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
  await t.rejects(open(envelope, countingKey('oct'), away), { reason: 'unwrap-failed', code: 'FMG_ERR_BUNDLE_INVALID' })
})

t.test('a key that gives anything but 32 bytes is not believed', async (t) => {
  const envelope = await sealDataKey(dataKey, all, context)
  for (const length of [0, 16, 31, 33]) {
    await t.rejects(open(envelope, { ...countingKey('oct', oct), unwrap: async () => new Uint8Array(length) }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
  }
  const short = await sealDataKey(randomBytes(31), all, context)
  for (const key of all) await t.rejects(open(short, key), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'data-key' })
})

t.test('the content key is overwritten once it was used', async (t) => {
  const [oct] = all
  if (oct === undefined) return
  const seen: Uint8Array[] = []
  const spy: KeyProvider = {
    ...oct,
    wrap: async (key, associatedData) => {
      seen.push(key)
      return await oct.wrap(key, associatedData)
    },
    unwrap: async (wrapped, associatedData) => {
      const key = await oct.unwrap(wrapped, associatedData)
      seen.push(key)
      return key
    }
  }
  await open(await sealDataKey(dataKey, [spy], context), spy)
  t.equal(seen.length, 2)
  for (const key of seen) t.ok(key.every((byte) => byte === 0))
})

t.test('whoever keeps a key-encryption key is told what the key belongs to', async (t) => {
  const told: string[] = []
  const tell = (associatedData: Uint8Array): void => { told.push(Buffer.from(associatedData).toString()) }
  const plain = countingKey('oct', oct)
  const keeper: KeyProvider = {
    ...plain,
    wrap: async (key, associatedData) => {
      tell(associatedData)
      return await plain.wrap(key, associatedData)
    },
    unwrap: async (wrapped, associatedData) => {
      tell(associatedData)
      return await plain.unwrap(wrapped, associatedData)
    }
  }
  await open(await sealDataKey(dataKey, [keeper], context), keeper)
  t.same(told, [context.toString(), context.toString()])
})

t.test('an envelope that leaves a choice to whoever wrote it is refused', async (t) => {
  const [oct] = all
  if (oct === undefined) return
  const envelope = await parsed(oct)
  const [recipient] = envelope.recipients
  const withHeader = (header: object): object => ({ ...envelope, recipients: [{ ...recipient, header: { ...recipient?.header, ...header } }] })
  const cases: Readonly<Record<string, unknown>> = {
    'not JSON': '',
    'a compact JWE': await new CompactEncrypt(dataKey).setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' }).encrypt(randomBytes(32)),
    'flattened form': { ...envelope, recipients: undefined, header: recipient?.header, encrypted_key: recipient?.encrypted_key },
    'no recipient': { ...envelope, recipients: [] },
    'seventeen recipients': { ...envelope, recipients: Array.from({ length: 17 }, (_, index) => ({ ...recipient, header: { alg: 'A256KW', kid: String(index) } })) },
    'two of one name': { ...envelope, recipients: [recipient, recipient] },
    'a shared header': { ...envelope, unprotected: { alg: 'A256KW' } },
    'no aad': { ...envelope, aad: undefined },
    'another enc': { ...envelope, protected: base64url('{"enc":"A128GCM"}') },
    'no enc': { ...envelope, protected: base64url('{}') },
    'a protected alg': { ...envelope, protected: base64url('{"enc":"A256GCM","alg":"dir"}') },
    zip: { ...envelope, protected: base64url('{"enc":"A256GCM","zip":"DEF"}') },
    crit: { ...envelope, protected: base64url('{"enc":"A256GCM","crit":["x"],"x":1}') },
    'a protected header that is none': { ...envelope, protected: base64url('x') },
    'loose bits': { ...envelope, tag: `${envelope.tag?.slice(0, -1) ?? ''}B` },
    padding: { ...envelope, tag: `${envelope.tag ?? ''}==` },
    'a recipient with more': { ...envelope, recipients: [{ ...recipient, also: 1 }] },
    'a recipient without a key': { ...envelope, recipients: [{ header: recipient?.header }] },
    'a recipient without a name': withHeader({ kid: undefined }),
    'a recipient without an algorithm': withHeader({ alg: undefined }),
    'more than 64 KiB': { ...envelope, ciphertext: 'AAAA'.repeat(16_385) }
  }
  for (const [name, value] of Object.entries(cases)) t.throws(() => read(value), { code: 'FMG_ERR_BUNDLE_INVALID' }, name)
  for (const header of [null, [], 'x', 1]) t.throws(() => read({ ...envelope, recipients: [{ ...recipient, header }] }), { code: 'FMG_ERR_BUNDLE_INVALID', message: /header must be an object/ })
  for (const alg of ['dir', 'none', 'RSA1_5', 'PBES2-HS256+A128KW', 'PBES2-HS512+A256KW']) t.throws(() => read(withHeader({ alg })), { code: 'FMG_ERR_BUNDLE_INVALID', message: /must not use/ }, alg)
  for (const name of ['enc', 'zip', 'crit', 'cty', 'typ', 'p2s', 'p2c', 'jku', 'jwk', 'x5u', 'x5c']) t.throws(() => read(withHeader({ [name]: 'x' })), { code: 'FMG_ERR_BUNDLE_INVALID', message: /must not have/ }, name)
  t.ok(read(withHeader({ version: 3 })), 'what a provider adds for itself is handed to it')
  t.ok(read({ ...envelope, recipients: Array.from({ length: 16 }, (_, index) => ({ ...recipient, header: { alg: 'A256KW', kid: String(index) } })) }), 'sixteen are not too many')
})

t.test('an envelope with any byte changed is refused', async (t) => {
  const [oct] = all
  if (oct === undefined) return
  const bytes = Buffer.from(await sealDataKey(dataKey, [oct], context))
  await fc.assert(fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
    const changed = Buffer.from(bytes)
    changed.writeUInt8(changed.readUInt8(at) ^ flip, at)
    await t.rejects(async () => await openDataKey(readEnvelope(changed, 'x'), all, context), { code: /FMG_ERR_(BUNDLE_INVALID|MODEL_TAMPERED)/ }, `byte ${at}`)
  }), { numRuns: 500 })
})

t.test('a sealed key with an initialization vector or a tag of another length is refused', async (t) => {
  const [oct] = all
  if (oct === undefined) return
  const contentKey = randomBytes(32)
  const envelope = JSON.parse(await sealDataKey(dataKey, [{ ...oct, wrap: async (key, associatedData) => await oct.wrap(contentKey.fill(key), associatedData) }], context)) as GeneralJWE
  t.same(Buffer.from(await open(envelope, oct)), dataKey)
  // A genuine one, but for its length: GCM takes any.
  const cipher = createCipheriv('aes-256-gcm', contentKey, Buffer.alloc(16)).setAAD(Buffer.from(`${envelope.protected ?? ''}.${envelope.aad ?? ''}`))
  const ciphertext = Buffer.concat([cipher.update(dataKey), cipher.final()]).toString('base64url')
  await t.rejects(open({ ...envelope, iv: Buffer.alloc(16).toString('base64url'), ciphertext, tag: cipher.getAuthTag().toString('base64url') }, oct), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'data-key' })
  await t.rejects(open({ ...envelope, tag: Buffer.from(envelope.tag ?? '', 'base64url').subarray(0, 12).toString('base64url') }, oct), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'data-key' })
})

t.test('a data key is sealed for 1 to 16 keys of different names', async (t) => {
  const keys = Array.from({ length: 17 }, (_, index) => countingKey(String(index)))
  await t.resolves(sealDataKey(dataKey, keys.slice(0, 16), context))
  for (const recipients of [[], keys, [countingKey('a'), countingKey('a')]]) await t.rejects(sealDataKey(dataKey, recipients, context), { code: 'FMG_ERR_OPTION_INVALID' })
})
