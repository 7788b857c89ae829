import { appendFile, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { partsOfBytes, startParts } from '../../src/model/digest.ts'
import { openModel } from '../../src/model/open-model.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { requireLength, requireParts } from '../../src/model/signed-file.ts'
import { readStatement, rootDigest } from '../../src/model/statement.ts'
import { verifyModel } from '../../src/model/verify-model.ts'
import { manifestOf, signer, trust, writeFiles } from '../helpers/models.ts'
import { addModel } from '../helpers/onnx.ts'
import { countingKey } from '../helpers/sealed-models.ts'

const digest = 'ab'.repeat(32)
const changed = { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' }

function shards (names: readonly string[], shardSize: number, algorithm = 'sha256'): Buffer {
  const resources = names.map((name) => ({ name, algorithm, digest }))
  return Buffer.from(JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'model', digest: { sha256: rootDigest(resources) } }],
    predicateType: 'https://model_signing/signature/v1.0',
    predicate: { resources, serialization: { method: 'shards', hash_type: 'sha256', shard_size: shardSize, allow_symlinks: false } }
  }))
}

/** File names with the borders of their shards. */
function read (names: readonly string[], shardSize: number, algorithm?: string): readonly (readonly unknown[])[] {
  return readStatement(shards(names, shardSize, algorithm), 'x').files.map(({ name, parts }) => [name, ...parts.map(({ start, end }) => `${start}-${String(end)}`)])
}

t.test('the shards of a file are gathered, by the last two numbers of their names', async (t) => {
  t.same(read(['a:0:10', 'a:10:15', 'b:0:10'], 10), [['a', '0-10', '10-15'], ['b', '0-10']])
  t.same(read(['ab:0:10:0:10', 'ab:0:10:10:11'], 10), [['ab:0:10', '0-10', '10-11']], 'a name may look like a shard')
  t.same(read(['.:0:10', '.:10:11'], 10), [['.', '0-10', '10-11']], 'a model that is one file may be a dot')
  t.same(read(['a:0:1000000000', 'a:1000000000:1000000001'], 1e9), [['a', '0-1000000000', '1000000000-1000000001']])
})

t.test('shards stand in the order of their names, or as the reference tool has them', async (t) => {
  const byName = ['a:0:5', 'a:10:11', 'a:5:10', 'b.c:0:1', 'b/a:0:1']
  const byBeginning = ['a:0:5', 'a:5:10', 'a:10:11', 'b/a:0:1', 'b.c:0:1']
  const files = [['a', '0-5', '5-10', '10-11'], ['b.c', '0-1'], ['b/a', '0-1']]
  t.same(read(byName, 5), files)
  t.same(read(byBeginning, 5, 'sha256-sharded-5'), files)
  for (const mixed of [['a:5:10', 'a:0:5'], ['a:0:5', 'a:0:5'], ['a:0:5', 'a:10:11', 'a:5:10', 'b/a:0:1', 'b.c:0:1']]) {
    t.throws(() => read(mixed, 5), { code: 'FMG_ERR_BUNDLE_INVALID', reason: new Set(mixed).size < mixed.length ? 'duplicate-file' : 'order' }, mixed.join(' '))
  }
})

t.test('shards with a border off by one, a gap, an overlap or another size are refused', async (t) => {
  const wrong: Readonly<Record<string, readonly string[]>> = {
    'begins late': ['a:1:10'],
    'begins at the second': ['a:10:20'],
    'a border one early': ['a:0:9', 'a:9:15'],
    'a border one late': ['a:0:11', 'a:11:15'],
    'a gap': ['a:0:10', 'a:11:15'],
    'an overlap': ['a:0:10', 'a:9:15'],
    'the first longer, over the second': ['a:0:11', 'a:10:15'],
    'one missing': ['a:0:10', 'a:20:25'],
    'the last too long': ['a:0:10', 'a:10:21'],
    'the first of another end as well': ['a:0:10', 'a:0:9'],
    'a short one that is not the last': ['a:0:10', 'a:10:15', 'a:20:25'],
    empty: ['a:0:10', 'a:10:10'],
    backwards: ['a:0:10', 'a:10:5']
  }
  for (const [name, names] of Object.entries(wrong)) t.throws(() => read(names.toSorted(), 10), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'shard' }, name)
  for (const name of ['a', 'a:0', 'a:0:', ':0:10', 'a:00:10', 'a:0:010', 'a:-0:10', 'a:+0:10', 'a:0x0:10', 'a: 0:10', 'a:0:1e1', 'a:0:10 ', 'a:0:10\n', 'a:0:1234567890123456', 'a:0:0']) {
    t.throws(() => read([name], 10), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'shard' }, JSON.stringify(name))
  }
  t.throws(() => read(['../a:0:10'], 10), { code: 'FMG_ERR_BUNDLE_INVALID', message: /relative path/ })
  t.throws(() => read(['.:0:10', 'a:0:10'], 10), { code: 'FMG_ERR_BUNDLE_INVALID', message: /relative path/ })
})

t.test('a digest is named for its hash, or with the size of its shards as the reference tool does', async (t) => {
  t.ok(read(['a:0:10'], 10, 'sha256-sharded-10'))
  for (const algorithm of ['sha256-sharded-11', 'sha256-sharded-', 'sha256-sharded-10 ', 'blake2b-sharded-10', 'blake2b']) {
    t.throws(() => read(['a:0:10'], 10, algorithm), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'digest-form' }, algorithm)
  }
})

t.test('the parts of a file are the same however its bytes come', async (t) => {
  const bytes = Buffer.from('0123456789abcdefghijklmno')
  const whole = await partsOfBytes(bytes, { hash: 'sha256', shardBytes: 10 })
  t.same(whole.map(({ start, end }) => [start, end]), [[0, 10], [10, 20], [20, 25]])
  for (const size of [1, 3, 10, 11, 25]) {
    const digests = startParts({ hash: 'sha256', shardBytes: 10 })
    for (let offset = 0; offset < bytes.length; offset += size) digests.update(bytes.subarray(offset, offset + size))
    t.same(digests.end(), whole, `${size} at a time`)
  }
  t.same((await partsOfBytes(bytes.subarray(0, 20), { hash: 'sha256', shardBytes: 10 })).length, 2, 'no empty shard at the end')
  t.same(await partsOfBytes(Buffer.alloc(0), { hash: 'sha256', shardBytes: 10 }), [], 'an empty file has none')
  t.match(await partsOfBytes(bytes, { hash: 'blake2b' }), [{ start: 0, end: undefined, digest: /^[0-9a-f]{128}$/ }])
})

t.test('parts are held against those that were signed for', async (t) => {
  const file = { name: 'a', parts: await partsOfBytes(Buffer.from('0123456789'), { hash: 'sha256', shardBytes: 4 }) }
  const [first, second, last] = file.parts
  if (first === undefined || second === undefined || last === undefined) throw new Error('three parts')
  t.doesNotThrow(() => { requireParts(file, file.parts) })
  const others = [
    [], [first, second], [...file.parts, last], [second, first, last],
    [first, second, { ...last, end: 11 }], [first, second, { ...last, start: 7 }], [first, second, { ...last, digest: first.digest }], [first, second, { start: 8, digest: last.digest }]
  ]
  for (const found of others) t.throws(() => { requireParts(file, found) }, changed)
  t.doesNotThrow(() => { requireLength(file, 10) })
  for (const bytes of [0, 9, 11]) t.throws(() => { requireLength(file, bytes) }, changed)
  t.doesNotThrow(() => { requireLength({ name: 'a', parts: [{ start: 0, digest }] }, 7) }, 'a whole file has its length in its digest')
})

t.test('what was signed in shards verifies, is sealed and opens, and a changed file does not', async (t) => {
  for (const hash of ['sha256', 'blake2b'] as const) {
    const folder = t.testdir()
    const directory = await writeFiles(path.join(folder, 'model'), { 'model.onnx': addModel(), 'model.json': manifestOf(), 'weights/a:0:5': 'x'.repeat(100), 'weights.bin': 'y'.repeat(64) })
    const statement = await signModel({ directory, signer, shardBytes: 32, hash })
    t.match(statement, { hash, shardBytes: 32 })
    t.same(statement.files.find(({ name }) => name === 'weights/a:0:5')?.parts.map(({ start, end }) => [start, end]), [[0, 32], [32, 64], [64, 96], [96, 100]])
    t.match(await verifyModel({ model: directory, trust }), { statement: { digest: statement.digest } })
    const key = countingKey('k')
    await sealModel({ source: directory, destination: path.join(folder, 'bundle'), recipients: [key] })
    const opened = await openModel({ directory: path.join(folder, 'bundle'), keys: [key], trust })
    t.equal(Buffer.from(opened.files.get('weights.bin') ?? []).toString(), 'y'.repeat(64))

    const file = path.join(directory, 'weights.bin')
    const attempts: Readonly<Record<string, () => Promise<void>>> = {
      longer: async () => { await appendFile(file, 'y') },
      'longer by a shard': async () => { await appendFile(file, 'y'.repeat(32)) },
      shorter: async () => { await truncate(file, 63) },
      'shorter by a shard': async () => { await truncate(file, 32) },
      empty: async () => { await truncate(file, 0) },
      changed: async () => { await writeFile(file, `${'y'.repeat(63)}z`) }
    }
    for (const [name, change] of Object.entries(attempts)) {
      await writeFile(file, 'y'.repeat(64))
      await verifyModel({ model: directory, trust })
      await change()
      await t.rejects(verifyModel({ model: directory, trust }), { ...changed, message: /weights\.bin/ }, name)
      await t.rejects(sealModel({ source: directory, destination: path.join(folder, 'other'), recipients: [key] }), changed, name)
    }
  }
})

t.test('an empty file is in no shard: it is not signed, and not overlooked', async (t) => {
  const directory = await writeFiles(t.testdir(), { a: 'x', empty: '' })
  await t.rejects(signModel({ directory, signer, shardBytes: 10 }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'empty-file', message: /empty is empty/ })
  await signModel({ directory, signer, shardBytes: 10, ignorePaths: ['empty'] })
  t.ok(await verifyModel({ model: directory, trust }))
  await writeFile(path.join(directory, 'another'), '')
  await t.rejects(verifyModel({ model: directory, trust }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'extra-file', message: /another/ })
  t.ok(await verifyModel({ model: directory, trust, ignorePaths: ['another'] }))
})

t.test('what no verifier could read is not written', async (t) => {
  const directory = await writeFiles(t.testdir(), { a: 'x'.repeat(200_000), '[b]': 'x' })
  await t.rejects(signModel({ directory, signer, shardBytes: 1 }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'too-large' })
  for (const shardBytes of [0, -1, 1.5]) await t.rejects(signModel({ directory, signer, shardBytes }), { code: 'FMG_ERR_OPTION_INVALID' })
  for (const ignored of ['*', 'a?', '[b]']) await t.rejects(signModel({ directory, signer, ignorePaths: [ignored] }), { code: 'FMG_ERR_OPTION_INVALID', message: /ignorePaths/ })
  t.ok(await signModel({ directory, signer, shardBytes: 1000 }))
})
