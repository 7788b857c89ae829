import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { modelKind } from '../../src/model/bundle-kind.ts'
import { deriveKeys, saltBytes } from '../../src/model/cobblestone.ts'
import { openDataKey } from '../../src/model/data-key.ts'
import { fileContext, readBundleEnvelope } from '../../src/model/sealed-bundle.ts'
import { inspectModel } from '../../src/model/inspect-model.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { signer, type Files } from '../helpers/models.ts'
import { countInMemory } from '../helpers/scan-memory.ts'
import { sealedModel } from '../helpers/sealed-models.ts'

type Counts = Readonly<Record<string, number>>

/** What a child finds in its memory at each place where it stands still, while it opens a bundle that was sealed for this key. */
async function watch (t: Test, keyText: string, files: Files = {}): Promise<ReadonlyMap<string, Counts>> {
  const folder = t.testdir({ 'key.json': keyText })
  const [bundle, keyFile, publicFile] = [path.join(folder, 'bundle'), path.join(folder, 'key.json'), path.join(folder, 'signer.pem')]
  await chmod(keyFile, 0o600)
  await writeFile(publicFile, signer.publicKey.export({ type: 'spki', format: 'pem' }))
  const key = await keyFromFile(keyFile)
  await sealedModel(bundle, [key], files)
  const wanted = { ...await keysOf(bundle, key, Object.keys(files)[0] ?? 'model.onnx'), ...partsOf(keyText) }
  const child = spawn(process.execPath, [path.join(import.meta.dirname, '..', 'helpers', 'opening-child.js'), bundle, keyFile, publicFile], { stdio: ['pipe', 'pipe', 'inherit'] })
  const seen = new Map<string, Counts>()
  createInterface(child.stdout).on('line', (place) => {
    seen.set(place, countInMemory(child.pid ?? 0, wanted))
    child.stdin.write('.')
  })
  t.same(await once(child, 'exit'), [0, null])
  t.same([...seen.keys()], ['key read', 'unwrapped', 'opening', 'opened', 'key gone'])
  return seen
}

/** The keys of a bundle, below the one that opens it, and that of this file. */
async function keysOf (bundle: string, key: KeyProvider, file: string): Promise<Readonly<Record<string, Uint8Array>>> {
  const envelope = await readBundleEnvelope(bundle)
  const [recipient] = envelope.recipients
  if (recipient === undefined) throw new Error('it is sealed for nobody')
  const dataKey = await openDataKey(envelope, [key], envelope.associatedData)
  const { digest } = (await inspectModel(bundle)).statement
  const salt = (await readFile(path.join(bundle, `${file}.sealed`))).subarray(0, saltBytes)
  const fileKey = deriveKeys({ key: dataKey, context: fileContext(modelKind, digest, file) }, salt).key
  return { contentKey: await key.unwrap(recipient, envelope.associatedData), dataKey, fileKey }
}

/** A secret key, and the text it stands in. */
function partsOf (keyText: string): Readonly<Record<string, Uint8Array>> {
  const { k } = JSON.parse(keyText) as { k?: string }
  return k === undefined ? {} : { wrappingKey: Buffer.from(k, 'base64url'), wrappingKeyText: Buffer.from(k) }
}

const skip = !existsSync('/proc/self/mem') && 'there is no proc(5) to look at memory with'

t.test('keys are in memory while they are needed, and no longer', { skip }, async (t) => {
  const seen = await watch(t, JSON.stringify({ kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') }))
  t.match(seen.get('key read'), { contentKey: 0, dataKey: 0, wrappingKey: 1, wrappingKeyText: 0 })
  t.match(seen.get('unwrapped'), { contentKey: 1, dataKey: 0, wrappingKey: 1 }, 'what is there is found')
  t.match(seen.get('opening'), { contentKey: 0, dataKey: 1, wrappingKey: 1 })
  t.same(seen.get('opened'), { contentKey: 0, dataKey: 0, fileKey: 0, wrappingKey: 1, wrappingKeyText: 0 }, 'without a collection of garbage')
  t.same(seen.get('key gone'), { contentKey: 0, dataKey: 0, fileKey: 0, wrappingKey: 0, wrappingKeyText: 0 })
})

for (const { kind, alg, key } of [
  { kind: 'RSA', alg: 'RSA-OAEP-256', key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey },
  { kind: 'EC', alg: 'ECDH-ES+A256KW', key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }
]) {
  t.test(`a data key that a key of ${kind} opened is not there any more either`, { skip }, async (t) => {
    const seen = await watch(t, JSON.stringify({ ...key.export({ format: 'jwk' }), kid: 'kek', alg }))
    t.match(seen.get('opening'), { dataKey: 1 })
    t.same(seen.get('opened'), { contentKey: 0, dataKey: 0, fileKey: 0 })
  })
}

t.test('the key of a file that threads opened is not there any more', { skip }, async (t) => {
  const seen = await watch(t, JSON.stringify({ kty: 'oct', kid: 'kek', alg: 'A256KW', k: randomBytes(32).toString('base64url') }), { 'weights.bin': randomBytes(65 * 1024 * 1024) })
  t.same(seen.get('opened'), { contentKey: 0, dataKey: 0, fileKey: 0, wrappingKey: 1, wrappingKeyText: 0 })
})
