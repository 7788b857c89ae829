import { createDecipheriv, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { seal } from '../../src/model/cobblestone.ts'
import { FileOpener } from '../../src/model/open-files.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelProgress } from '../../src/model/progress.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { modelKind } from '../../src/model/bundle-kind.ts'
import { fileContext } from '../../src/model/sealed-bundle.ts'
import { startSession } from '../../src/model/session.ts'
import { signModel } from '../../src/model/sign-model.ts'
import type { Statement } from '../../src/model/statement.ts'
import { collect } from '../helpers/bytes-source.ts'
import { fileSecretsOf } from '../helpers/file-secrets.ts'
import { manifestOf, signer, trust, writeFiles, type Files } from '../helpers/models.ts'
import { addModel, bytes, externalModel, floats, number } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'

const mebibyte = 1024 * 1024
const key = countingKey('k')

/** Tells what a method of this prototype was called on, and what it gave, until the test ends. */
function watch (t: Test, prototype: object, method: string, tell: (self: object, result: unknown) => void): void {
  const genuine = Reflect.get(prototype, method) as (...args: unknown[]) => unknown
  t.teardown(() => Reflect.set(prototype, method, genuine))
  Reflect.set(prototype, method, function (this: object, ...args: unknown[]) {
    const result = genuine.apply(this, args)
    tell(this, result)
    return result
  })
}

async function sealedLarge (folder: string, files: Files, shardBytes?: number): Promise<string> {
  const source = await writeFiles(path.join(folder, 'source'), { 'model.json': manifestOf(), ...files })
  await signModel({ directory: source, signer, shardBytes })
  await sealModel({ source, destination: path.join(folder, 'bundle'), recipients: [key] })
  return path.join(folder, 'bundle')
}

/** All shared memory of a mebibyte or more that is taken until the end of the test. */
function sharedMemoryOf (t: { teardown (end: () => void): void }): readonly SharedArrayBuffer[] {
  const genuine = globalThis.SharedArrayBuffer
  const all: SharedArrayBuffer[] = []
  globalThis.SharedArrayBuffer = class extends genuine {
    constructor (bytes = 0) {
      super(bytes)
      if (bytes >= mebibyte) all.push(this)
    }
  }
  t.teardown(() => { globalThis.SharedArrayBuffer = genuine })
  return all
}

function isZero (memory: Uint8Array | SharedArrayBuffer): boolean {
  const view = Buffer.from(memory instanceof Uint8Array ? memory : new Uint8Array(memory))
  return view.equals(Buffer.alloc(view.length))
}

for (const shardBytes of [undefined, 30_000_000]) {
  t.test(`a model with large files opens in several threads and runs, signed in ${shardBytes === undefined ? 'whole files' : 'shards'}`, async (t) => {
    const files = { 'model.onnx': externalModel('w/a.bin'), 'w/a.bin': Buffer.concat([floats(1, 2, 3), randomBytes(65 * mebibyte)]), 'w/b.bin': randomBytes(66 * mebibyte), 'w/c.bin': 'small' }
    const directory = await sealedLarge(t.testdir(), files, shardBytes)
    const told: ModelProgress[] = []
    const opened = await openModel({ directory, keys: [key], trust, threads: 2, onProgress: (progress) => { told.push(progress) } })
    for (const [name, content] of Object.entries(files)) {
      const plain = opened.files.get(name) ?? new Uint8Array()
      t.ok(Buffer.from(content).equals(plain), name)
      t.equal(plain.buffer instanceof SharedArrayBuffer, content.length > 64 * mebibyte)
      t.match(told.filter((progress) => progress.name === name).at(-1), { bytes: content.length, totalBytes: content.length })
    }
    t.ok(told.filter(({ name }) => name === 'w/b.bin').length > 2)
  })
}

t.test('large weights are read by the runtime, inside of the graph and beside it, and wiped', async (t) => {
  const ballast = bytes(7, bytes(5, number(1, 17 * mebibyte), number(2, 1), bytes(8, 'ballast'), bytes(9, Buffer.alloc(68 * mebibyte, 1))))
  const cases: Readonly<Record<string, Files>> = {
    beside: { 'model.onnx': externalModel(), 'weights.bin': Buffer.concat([floats(1, 2, 3), Buffer.alloc(65 * mebibyte, 1)]) },
    inside: { 'model.onnx': Buffer.concat([addModel(), ballast]) }
  }
  for (const [name, files] of Object.entries(cases)) {
    const folder = path.join(t.testdir(), name)
    const opened = await openModel({ directory: await sealedLarge(folder, files), keys: [key], trust, threads: 2 })
    const session = await startSession(opened, { queueLimit: 0, timeoutMs: 60_000, workers: 2 })
    t.teardown(async () => { await session.close() })
    const { outputs } = await session.run({ x: { datatype: 'FP32', shape: [1, 3], data: floats(1, 2, 3) } })
    t.same(outputs.y?.data, new Uint8Array(floats(2, 4, 6)))
    t.ok([...opened.files.values()].every(isZero), name)
  }
})

t.test('sealing says how far it is, about every 16 MiB', async (t) => {
  const folder = t.testdir()
  const content = randomBytes(40 * mebibyte + 1)
  const source = await writeFiles(path.join(folder, 'source'), { 'model.json': manifestOf(), 'model.onnx': addModel(), 'w.bin': content, empty: '' })
  await signModel({ directory: source, signer })
  const told: ModelProgress[] = []
  await sealModel({ source, destination: path.join(folder, 'bundle'), recipients: [key], onProgress: (progress) => { told.push(progress) } })
  t.same(told.filter(({ name }) => name === 'w.bin').map(({ bytes, totalBytes }) => [bytes, totalBytes]), [16 * mebibyte, 32 * mebibyte, content.length].map((bytes) => [bytes, content.length]))
  t.same(told.filter(({ name }) => name !== 'w.bin'), [
    { name: 'empty', bytes: 0, totalBytes: 0 },
    ...[['model.json', manifestOf().length], ['model.onnx', addModel().length]].map(([name, bytes]) => ({ name, bytes, totalBytes: bytes }))
  ])
})

t.test('without threads this one opens large files, and nothing is shared', async (t) => {
  const content = randomBytes(65 * mebibyte)
  const directory = await sealedLarge(t.testdir(), { 'model.onnx': addModel(), 'w.bin': content })
  const { files } = await openModel({ directory, keys: [key], trust, threads: 0 })
  t.ok(content.equals(files.get('w.bin') ?? Buffer.alloc(0)))
  t.ok(files.get('w.bin')?.buffer instanceof ArrayBuffer)
  for (const threads of [-1, 0.5, 65]) await t.rejects(openModel({ directory, keys: [key], trust, threads }), { code: 'FMG_ERR_OPTION_INVALID', message: /openModel\.threads/ })
})

t.test('the data key is zero when a model is open, and when it is refused', async (t) => {
  const directory = await sealedLarge(t.testdir(), { 'model.onnx': addModel() })
  const decipher = Object.getPrototypeOf(createDecipheriv('aes-256-gcm', randomBytes(32), randomBytes(12))) as object
  const dataKeys: Uint8Array[] = []
  const bound = new WeakSet<object>()
  watch(t, decipher, 'setAAD', (self) => { bound.add(self) })
  // What was unwrapped, with nothing bound to it, is the key above.
  watch(t, decipher, 'update', (self, plain) => { if (bound.has(self) && plain instanceof Uint8Array && plain.length === 32) dataKeys.push(plain) })
  await openModel({ directory, keys: [key], trust, admit: () => { t.notOk(dataKeys.some(isZero)) } })
  await t.rejects(openModel({ directory, keys: [key], trust, expectName: 'other' }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'another-model' })
  t.equal(dataKeys.length, 2)
  t.ok(dataKeys.every((bytes) => bytes.length === 32 && isZero(bytes)))
})

t.test('of a large file with one changed byte nothing is left in memory', async (t) => {
  const directory = await sealedLarge(t.testdir(), { 'model.onnx': addModel(), 'w.bin': Buffer.alloc(65 * mebibyte, 1) })
  const handle = await open(path.join(directory, 'w.bin.sealed'), 'r+')
  await handle.write(Buffer.alloc(1), 0, 1, 56 + 2000 * 16_400 + 5)
  await handle.close()
  const memory = sharedMemoryOf(t)
  const secrets = fileSecretsOf(t)
  await t.rejects(openModel({ directory, keys: [key], trust, threads: 2 }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk', message: /w\.bin\.sealed was changed in chunk 2000$/ })
  t.equal(memory.length, 1)
  t.equal(secrets.length, 3)
  t.ok([...memory, ...secrets].every(isZero))
})

/** A large file as somebody seals it who holds the data key and not the signing key. */
async function resealed (folder: string, statement: Statement, content: Uint8Array, dataKey: Uint8Array): Promise<FileOpener> {
  const directory = path.join(folder, 'resealed')
  await writeFiles(directory, { 'w.bin.sealed': await collect(seal([content], { key: dataKey, context: fileContext(modelKind, statement.digest, 'w.bin') })) })
  return new FileOpener({ kind: modelKind, directory, statement, dataKey, threads: 2, onProgress: () => undefined })
}

t.test('a large file that a key holder sealed anew is held against the signature, before anything is opened where its length is another', async (t) => {
  const dataKey = randomBytes(32)
  const content = randomBytes(65 * mebibyte)
  const other = Buffer.from(content)
  other.writeUInt8(other.readUInt8(20 * mebibyte) ^ 1, 20 * mebibyte)
  for (const shardBytes of [undefined, 30_000_000]) {
    const folder = path.join(t.testdir(), String(shardBytes))
    const source = await writeFiles(path.join(folder, 'source'), { 'w.bin': content })
    const statement = await signModel({ directory: source, signer, shardBytes })
    const attempt = async (bytes: Uint8Array): Promise<FileOpener> => {
      const opener = await resealed(folder, statement, bytes, dataKey)
      try {
        await opener.openAll(statement.files)
      } finally {
        await opener.close()
      }
      return opener
    }
    t.ok(content.equals((await attempt(content)).files.get('w.bin') ?? Buffer.alloc(0)))
    await t.rejects(attempt(other), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })
    const memory = sharedMemoryOf(t)
    const longer = Buffer.concat([content, Buffer.alloc(mebibyte)])
    await t.rejects(attempt(longer), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })
    if (shardBytes !== undefined) t.ok(memory.every((buffer) => isZero(buffer.slice(0, 32 * mebibyte))), 'nothing was opened')
  }
})
