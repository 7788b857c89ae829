import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { run } from '../helpers/command.ts'
import { sealedDataset } from '../helpers/datasets.ts'
import { signedModel, trust } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'

const programs = path.join(import.meta.dirname, '..', '..', '..', 'examples', 'python')
const program = path.join(programs, 'open_sealed.py')
const hasCryptography = await run('python3', ['-c', 'import cryptography']).then(({ status }) => status === 0, () => false)
const hasPackages = await run('python3', ['-c', 'import cryptography, jwcrypto']).then(({ status }) => status === 0, () => false)

t.test('a sealed bundle opens with Python alone', { skip: !hasPackages && 'python3 with cryptography and jwcrypto is not installed' }, async (t) => {
  const folder = t.testdir({ model: { weights: {} } })
  const at = (...names: string[]): string => path.join(folder, ...names)
  const manifest = { name: 'digits', version: '1', task: 't', org: 'acme', environment: 'test', sensitivity: 'low', nonce: randomBytes(16).toString('hex') }
  // Sizes around the borders of a chunk, and an empty file.
  const files: Record<string, Buffer> = {
    'model.json': Buffer.from(JSON.stringify(manifest)), 'model.onnx': randomBytes(16_384), 'weights/a.bin': randomBytes(16_383), 'weights/é.bin': randomBytes(40_000), empty: Buffer.alloc(0)
  }
  for (const [name, bytes] of Object.entries(files)) await writeFile(at('model', name), bytes)
  await signModel({ directory: at('model'), signer: localSigner(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey) })
  const keys = [
    { kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') },
    { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'rsa', alg: 'RSA-OAEP-256' },
    { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), kid: 'ec', alg: 'ECDH-ES+A256KW' }
  ]
  await sealModel({ source: at('model'), destination: at('sealed'), recipients: keys.map((jwk) => localKey({ jwk })) })
  await mkdir(at('keys'))
  for (const jwk of keys) {
    const key = at('keys', `${jwk.kid}.json`)
    await writeFile(key, JSON.stringify(jwk), { mode: 0o600 })
    t.match(await run('python3', [program, at('sealed'), key, at(jwk.kid)]), { status: 0 }, jwk.alg)
    for (const [name, bytes] of Object.entries(files)) t.ok((await readFile(at(jwk.kid, name))).equals(bytes), `${jwk.alg}: ${name}`)
  }

  const sealed = await readFile(at('sealed', 'weights', 'a.bin.sealed'))
  sealed.writeUInt8(sealed.readUInt8(100) ^ 1, 100)
  await writeFile(at('sealed', 'weights', 'a.bin.sealed'), sealed)
  t.not((await run('python3', [program, at('sealed'), at('keys', 'kek.json'), at('changed')])).status, 0, 'a changed byte is refused')
})

t.test('a sealed dataset opens with Python alone, and as nothing else', { skip: !hasPackages && 'python3 with cryptography and jwcrypto is not installed' }, async (t) => {
  const folder = t.testdir()
  const at = (...names: string[]): string => path.join(folder, ...names)
  const jwk = { kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') }
  await writeFile(at('kek.json'), JSON.stringify(jwk), { mode: 0o600 })
  const rows = randomBytes(40_000)
  await sealedDataset(at('sealed'), [localKey({ jwk })], { 'train/é.bin': rows })
  t.match(await run('python3', [program, at('sealed'), at('kek.json'), at('opened')]), { status: 0, stderr: '' })
  t.ok((await readFile(at('opened', 'train', 'é.bin'))).equals(rows))
  await rename(at('sealed', 'dataset.sig'), at('sealed', 'model.sig'))
  t.match(await run('python3', [program, at('sealed'), at('kek.json'), at('as-model')]), { status: 1, stderr: /the data key belongs to another statement/ })
})

t.test('what Python seals opens here', { skip: !hasCryptography && 'python3 with cryptography is not installed' }, async (t) => {
  const folder = t.testdir({ keys: {} })
  const at = (...names: string[]): string => path.join(folder, ...names)
  const files = { 'model.onnx': addModel(), 'weights/a.bin': randomBytes(16_383), 'weights/b.bin': randomBytes(16_384), 'weights/é.bin': randomBytes(40_000), empty: Buffer.alloc(0) }
  const model = await signedModel(at('model'), files)
  const keys = [
    { kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') },
    { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: 'rsa', alg: 'RSA-OAEP-256' }
  ]
  for (const jwk of keys) {
    const key = at('keys', `${jwk.kid}.json`)
    await writeFile(key, JSON.stringify(jwk), { mode: 0o600 })
    t.match(await run('python3', [path.join(programs, 'seal_model.py'), model, key, at(jwk.kid)]), { status: 0, stderr: '' }, jwk.alg)
    const opened = await openModel({ directory: at(jwk.kid), keys: [localKey({ jwk })], trust, expectName: 'fraud' })
    for (const [name, bytes] of Object.entries(files)) t.ok(bytes.equals(opened.files.get(name) ?? Buffer.from('none')), `${jwk.alg}: ${name}`)
  }
  await writeFile(path.join(model, 'weights/a.bin'), 'another')
  t.match(await run('python3', [path.join(programs, 'seal_model.py'), model, at('keys', 'kek.json'), at('changed')]), { status: 1, stderr: /'weights\/a\.bin' is not the file/ })
})
