import { spawn } from 'node:child_process'
import { createSecretKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { lockFile } from '../../src/files.ts'
import { openDataKey } from '../../src/model/data-key.ts'
import { openDataset } from '../../src/model/open-dataset.ts'
import { openModel } from '../../src/model/open-model.ts'
import { lockBundles } from '../../src/model/rewrap-folder.ts'
import { rewrapModel } from '../../src/model/rewrap-model.ts'
import { rewrapModels, type RewrapProgress } from '../../src/model/rewrap-models.ts'
import { readBundleEnvelope } from '../../src/model/sealed-bundle.ts'
import { createWrappingKey } from '../../src/secrets/create-keys.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { sealedDataset } from '../helpers/datasets.ts'
import { trust } from '../helpers/models.ts'
import { randomOf } from '../helpers/random.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

async function recipientsOf (bundle: string): Promise<readonly string[]> {
  return (await readBundleEnvelope(bundle)).recipients.map(({ keyId }) => keyId)
}

async function opens (directory: string, ...keys: readonly KeyProvider[]): Promise<boolean> {
  return await openModel({ directory, keys, trust }).then(() => true)
}

/** Bundles of these names in one folder. */
async function bundles (folder: string, names: readonly string[], recipients: readonly KeyProvider[]): Promise<readonly string[]> {
  const sources = `${folder}-sources`
  await mkdir(folder, { recursive: true })
  await mkdir(sources)
  for (const name of names) {
    await sealedModel(path.join(sources, name), recipients)
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
    await rename(path.join(sources, name), path.join(folder, name))
  }
  await rm(sources, { recursive: true })
  return names.map((name) => path.join(folder, name))
}

t.test('recipients are added and removed; who stays keeps what it has, and nobody is asked to wrap for it again', async (t) => {
  const [a, b, c] = [countingKey('a'), countingKey('b'), countingKey('c')]
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [a, b])
  const before = await readBundleEnvelope(directory)
  t.equal(await rewrapModel({ directory, keys: [a], add: [c], remove: ['a'] }), true)
  const after = await readBundleEnvelope(directory)
  t.same(after.recipients.map(({ keyId }) => keyId), ['b', 'c'])
  t.same(after.recipients[0], before.recipients[1])
  t.same(after.content, before.content)
  for (const key of [b, c]) t.ok(await opens(directory, key), key.keyId)
  await t.rejects(opens(directory, a), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
})

t.test('a bundle that has its recipients already is known by their names: no key is asked', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [a, b])
  const asked = a.calls
  t.equal(await rewrapModel({ directory, keys: [a], recipients: [b, a] }), false)
  t.equal(await rewrapModel({ directory, keys: [a], add: [b], remove: ['c'] }), false)
  t.equal(a.calls, asked)
  t.equal(await rewrapModel({ directory, keys: [a, b], recipients: [b] }), true)
  t.same(await recipientsOf(directory), ['b'])
})

t.test('a key of the same name is wrapped for again when that is asked for, or its algorithm is another', async (t) => {
  const older = createSecretKey(randomBytes(32))
  const [old, renewed] = [countingKey('a', older), countingKey('a')]
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [old, countingKey('b')])
  t.equal(await rewrapModel({ directory, keys: [old], add: [renewed] }), false, 'a name tells nothing of a newer key')
  t.equal(await rewrapModel({ directory, keys: [old], add: [renewed], anew: true }), true)
  t.same(await recipientsOf(directory), ['b', 'a'])
  t.ok(await opens(directory, renewed))
  await t.rejects(opens(directory, old), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' })
  const other: KeyProvider = { ...renewed, algorithm: 'other', wrap: async (key, context) => ({ ...await renewed.wrap(key, context), algorithm: 'other' }) }
  t.equal(await rewrapModel({ directory, keys: [renewed], add: [other] }), true)
  t.match((await readBundleEnvelope(directory)).recipients, [{ keyId: 'b' }, { keyId: 'a', algorithm: 'other' }])
})

t.test('no bundle is left to nobody, nor to keys of which none was shown to open it', async (t) => {
  const [a, b, away] = [countingKey('a'), countingKey('b'), countingKey('away')]
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [a, b])
  const before = await readFile(path.join(directory, 'key.jwe.json'), 'utf8')
  await t.rejects(rewrapModel({ directory, keys: [a, b], remove: ['a', 'b'] }), { code: 'FMG_ERR_OPTION_INVALID', message: /the last recipient/ })
  await t.rejects(rewrapModel({ directory, keys: [a], remove: ['a'] }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' }, 'whether b opens it is not known')
  await t.rejects(rewrapModel({ directory, keys: [countingKey('b')], remove: ['a'] }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' }, 'b is another key now')
  await t.rejects(rewrapModel({ directory, keys: [away], recipients: [away] }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'no-recipient' })
  const seventeen = Array.from({ length: 17 }, (_, index) => countingKey(String(index)))
  for (const recipients of [seventeen, [a, countingKey('a')]]) await t.rejects(rewrapModel({ directory, keys: [a], recipients, anew: true }), { code: 'FMG_ERR_OPTION_INVALID', message: /1 to 16 keys/ })
  for (const wrapped of [{ encryptedKey: Buffer.alloc(0) }, { encryptedKey: Buffer.alloc(70_000) }, { header: { jwk: {} } }, { algorithm: 'none' }]) {
    const strange: KeyProvider = { ...away, wrap: async (key, context) => ({ ...await away.wrap(key, context), ...wrapped }) }
    await t.rejects(rewrapModel({ directory, keys: [a], recipients: [strange] }), { code: 'FMG_ERR_BUNDLE_INVALID' }, 'what a keeper gives must be readable')
  }
  t.equal(await readFile(path.join(directory, 'key.jwe.json'), 'utf8'), before)
  t.equal(await rewrapModel({ directory, keys: [b], remove: ['a'] }), true)
  t.ok(await opens(directory, b))
})

t.test('a sealed key that was changed, or is another bundle\'s, is not carried on', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'bundle'), [a])
  const file = path.join(directory, 'key.jwe.json')
  const envelope = JSON.parse(await readFile(file, 'utf8')) as { ciphertext: string }
  await writeFile(file, JSON.stringify({ ...envelope, ciphertext: Buffer.alloc(32).toString('base64url') }))
  await t.rejects(rewrapModel({ directory, keys: [a], recipients: [b] }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'data-key' })
  const other = await sealedModel(path.join(folder, 'other'), [a], { 'README.md': 'other' })
  await writeFile(file, await readFile(path.join(other, 'key.jwe.json')))
  await t.rejects(rewrapModel({ directory, keys: [a], recipients: [b] }), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'key-of-another-model' })
})

t.test('a change must be one of the two kinds, and say one thing', async (t) => {
  const a = countingKey('a')
  const directory = await sealedModel(path.join(t.testdir(), 'bundle'), [a])
  const keys = [a]
  const both: object = { add: [a], recipients: [a] }
  for (const change of [{}, { add: [], remove: [] }, { recipients: [a], ...both }]) {
    await t.rejects(rewrapModel({ directory, keys, ...change }), { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(Object.keys(change)))
  }
  await t.rejects(rewrapModel({ directory, keys, add: [a], remove: ['a'] }), { code: 'FMG_ERR_OPTION_INVALID', message: /a cannot be added and removed/ })
  for (const parallel of [0, 65, 1.5]) await t.rejects(rewrapModels({ directory, keys, add: [countingKey('b')], parallel }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(rewrapModel({ directory: `${directory}-none`, keys, recipients: [a] }), { code: 'FMG_ERR_FILE' })
  await t.rejects(rewrapModels({ directory: path.join(directory, 'none'), keys, recipients: [a] }), { code: 'FMG_ERR_FILE' })
  await t.rejects(rewrapModels({ directory: t.testdir({ empty: {} }), keys, recipients: [a] }), { code: 'FMG_ERR_FILE', message: /holds no sealed bundle/ })
})

t.test('a folder of bundles moves from one key store to another, and what is done is not done again', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = path.join(t.testdir(), 'models')
  const all = await bundles(folder, ['one', 'two/1.0.0', 'two/2.0.0', 'zoo'], [a])
  const [one = '', two = '', , zoo = ''] = all
  await symlink(zoo, path.join(folder, 'link'))
  await bundles(path.join(folder, 'sealing.0123456789ab.tmp'), ['x'], [a])
  await rewrapModel({ directory: two, keys: [a], recipients: [b] })
  const asked = a.calls
  const told: RewrapProgress[] = []
  const move = { directory: folder, keys: [a], add: [b], remove: ['a'], parallel: 2, onProgress: (progress: RewrapProgress) => { told.push(progress) } }
  t.same(await rewrapModels(move), { total: 4, changed: 3, unchanged: 1, failures: [], absent: [] })
  t.equal(a.calls, asked + 3)
  t.same(told.map(({ done, total }) => [done, total]), [[1, 4], [2, 4], [3, 4], [4, 4]])
  t.same(told.map(({ bundle }) => bundle).sort(), [...all].sort())
  t.match(told.find(({ bundle }) => bundle === two), { outcome: 'unchanged' })
  for (const bundle of all) t.ok(await opens(bundle, b), bundle)
  t.same(await rewrapModels(move), { total: 4, changed: 0, unchanged: 4, failures: [], absent: ['a'] }, 'a run that is over may run again')
  t.equal(a.calls, asked + 3)
  t.same(await rewrapModels({ ...move, directory: one }), { total: 1, changed: 0, unchanged: 1, failures: [], absent: ['a'] }, 'one bundle is a folder of one')
  t.same((await readdir(folder)).sort(), ['link', 'one', 'sealing.0123456789ab.tmp', 'two', 'zoo'])
})

t.test('models and datasets of one folder are all bundles', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = t.testdir()
  const directory = await sealedDataset(path.join(folder, 'data'), [a])
  const model = await sealedModel(path.join(folder, 'model'), [a])
  t.match(await rewrapModels({ directory: folder, keys: [a], recipients: [b] }), { total: 2, changed: 2 })
  t.ok(await opens(model, b))
  t.ok(await openDataset({ directory, keys: [b], trust }))
})

t.test('a bundle that fails is named, and does not stop the others', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = path.join(t.testdir(), 'models')
  const [broken = '', fine = '', unsigned = ''] = await bundles(folder, ['broken', 'fine', 'unsigned'], [a])
  await writeFile(path.join(broken, 'key.jwe.json'), '{}')
  await rm(path.join(unsigned, 'model.sig'))
  const told: string[] = []
  const report = await rewrapModels({ directory: folder, keys: [a], add: [b], remove: ['a'], parallel: 1, onProgress: ({ outcome }) => { told.push(outcome) } })
  t.match(report, { total: 3, changed: 1, unchanged: 0, absent: [] })
  t.match(report.failures, [{ bundle: broken, error: { code: 'FMG_ERR_BUNDLE_INVALID' } }, { bundle: unsigned, error: { code: 'FMG_ERR_BUNDLE_INVALID' } }])
  t.same(told, ['failed', 'changed', 'failed'])
  t.ok(await opens(fine, b))
})

t.test('a name to remove that no bundle has is a mistake while there is work to do', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = path.join(t.testdir(), 'models')
  const [one = ''] = await bundles(folder, ['one', 'two'], [a])
  const before = a.calls
  await t.rejects(rewrapModels({ directory: folder, keys: [a], add: [b], remove: ['a', 'mistyped'] }), { code: 'FMG_ERR_OPTION_INVALID', message: /no bundle is sealed for mistyped/ })
  t.equal(a.calls, before)
  t.same(await recipientsOf(one), ['a'], 'nothing was changed')
})

t.test('what a killed run left beside a bundle keeps it from nothing, and is removed by the next', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'bundle'), [a])
  const ours = `${directory}.0123456789ab.tmp`
  const others = ['bundle.0123456789ab', 'bundle.tmp', 'other.0123456789ab.tmp']
  for (const name of ['rewrap.lock.0123456789ab', 'rewrap.lock.removal.0123456789ab']) await writeFile(path.join(folder, name), '')
  for (const name of [ours, ...others.map((name) => path.join(folder, name))]) await writeFile(name, '{"half')
  await mkdir(path.join(folder, 'bundle.ba9876543210.tmp'))
  t.ok(await opens(directory, a))
  t.equal(await rewrapModel({ directory, keys: [a], recipients: [b] }), true)
  t.same((await readdir(folder)).sort(), ['bundle', 'bundle-source', 'bundle.ba9876543210.tmp', ...others].sort(), 'nor is what somebody seals there now')
})

t.test('a sealed key that is a link makes no bundle, and none is written by it', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'bundle'), [a])
  await rename(path.join(directory, 'key.jwe.json'), path.join(folder, 'elsewhere'))
  await symlink(path.join(folder, 'elsewhere'), path.join(directory, 'key.jwe.json'))
  await t.rejects(rewrapModels({ directory: folder, keys: [a], recipients: [b] }), { code: 'FMG_ERR_FILE', message: /holds no sealed bundle/ })
  await t.rejects(rewrapModel({ directory, keys: [a], recipients: [b] }), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-file' })
})

t.test('a bundle that takes the place of another while its keeper is asked keeps its own data key', async (t) => {
  const [a, b] = [countingKey('a'), countingKey('b')]
  const folder = t.testdir()
  for (const how of ['moved', 'linked']) {
    const directory = await sealedModel(path.join(folder, how, 'bundle'), [a])
    const other = await sealedModel(path.join(folder, how, 'other'), [a], { 'README.md': 'other' })
    const slow: KeyProvider = {
      ...a,
      unwrap: async (wrapped, context) => {
        await rename(directory, `${directory}-old`)
        if (how === 'moved') await rename(other, directory)
        else await symlink(other, directory)
        return await a.unwrap(wrapped, context)
      }
    }
    await t.rejects(rewrapModel({ directory, keys: [slow], recipients: [b] }), { code: 'FMG_ERR_FILE', message: /was replaced while it was rewrapped/ }, how)
    for (const bundle of [`${directory}-old`, how === 'moved' ? directory : other]) t.ok(await opens(bundle, a), bundle)
    t.notOk((await readdir(path.join(folder, how))).some((name) => name.endsWith('.tmp')))
  }
})

t.test('two runs at one bundle take turns, and neither loses what the other did', async (t) => {
  const [a, b, c] = [countingKey('a'), countingKey('b'), countingKey('c')]
  const folder = t.testdir()
  const directory = await sealedModel(path.join(folder, 'bundle'), [a])
  // Held until both wait for it.
  const lock = await lockFile(path.join(folder, 'rewrap.lock'))
  const runs = [rewrapModel({ directory, keys: [a], add: [b] }), rewrapModels({ directory, keys: [a], add: [c] })]
  await lock.release()
  await Promise.all(runs)
  t.same([...await recipientsOf(directory)].sort(), ['a', 'b', 'c'])
})

t.test('where the turn at one folder is not to be had, those that were taken are given back', async (t) => {
  const folder = t.testdir({ models: {} })
  await t.rejects(lockBundles([path.join(folder, 'models', 'one'), path.join(folder, 'none', 'two')]), { code: 'FMG_ERR_FILE', message: /rewrap\.lock/ })
  t.same(await readdir(path.join(folder, 'models')), [])
})

async function dataKeyOf (bundle: string, keys: readonly KeyProvider[]): Promise<string> {
  const envelope = await readBundleEnvelope(bundle)
  return Buffer.from(await openDataKey(envelope, keys, envelope.associatedData)).toString('hex')
}

/** Every bundle is for one of the two, its data key is the one it was sealed with, and nothing stands in it that does not belong there. */
async function checkAll (t: Test, dataKeys: ReadonlyMap<string, string>, keys: readonly KeyProvider[], round: string): Promise<number> {
  const wrong: string[] = []
  let moved = 0
  for (const [bundle, dataKey] of dataKeys) {
    const names = (await readdir(bundle)).sort().join(' ')
    const recipients = await recipientsOf(bundle)
    if (recipients.length !== 1 || names !== 'key.jwe.json model.json.sealed model.onnx.sealed model.sig' || await dataKeyOf(bundle, keys) !== dataKey) wrong.push(`${bundle}: ${recipients.join(', ')}; ${names}`)
    if (recipients[0] === keys[1]?.keyId) moved++
  }
  t.same(wrong, [], round)
  return moved
}

/** Runs the child until its n-th word: there it kills itself, or is killed as soon as that is heard; whether it was. */
async function runUntil (words: readonly string[], n: number, isOwnKill = false): Promise<boolean> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, '..', 'helpers', 'rewrap-child.js'), ...words, ...isOwnKill ? [String(n)] : []], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>
  let said = 0
  createInterface(child.stdout).on('line', () => { if (++said === n) child.kill('SIGKILL') })
  const [status, signal] = await ended
  if (status !== 0 && signal !== 'SIGKILL') throw new Error(`it ended with ${status ?? signal}`)
  return signal !== null
}

async function wrappingKey (folder: string, name: string): Promise<{ readonly file: string, readonly key: KeyProvider }> {
  const file = path.join(folder, `${name}.json`)
  await createWrappingKey(file, name)
  return { file, key: await keyFromFile(file) }
}

const count = Number(process.env['BUNDLES'] ?? 60)
const kills = Number(process.env['KILLS_REWRAP'] ?? 6)
const seed = process.env['SEED'] ?? randomBytes(8).toString('hex')

t.test('a move that is killed again and again ends with every bundle readable, none wrapped twice, none lost', { timeout: 60_000 + count * 500 + kills * 20_000 }, async (t) => {
  t.comment(`seed ${seed}, ${count} bundles, ${kills} kills`)
  const random = randomOf(seed)
  const root = t.testdir()
  const folder = path.join(root, 'models')
  let [from, to] = [await wrappingKey(root, 'a'), await wrappingKey(root, 'b')]
  const all = await bundles(folder, Array.from({ length: count }, (_, index) => `m${index}`), [from.key])
  const dataKeys = new Map<string, string>()
  for (const bundle of all) dataKeys.set(bundle, await dataKeyOf(bundle, [from.key]))
  let killed = 0
  let amidst = 0
  while (killed < kills) {
    // Three words a bundle: on average a move is killed often enough to take all its bundles.
    if (await runUntil([folder, from.file, to.file], 1 + random.below(Math.ceil(count * 6 / kills)), killed % 2 === 0)) {
      killed++
      const moved = await checkAll(t, dataKeys, [from.key, to.key], `kill ${killed}`)
      if (moved > 0 && moved < count) amidst++
    } else [from, to] = [to, from]
  }
  t.ok(amidst > 0, `${amidst} kills in the midst of a move`)
  t.equal(await runUntil([folder, from.file, to.file], Infinity), false, 'and the last run ends by itself')
  t.equal(await checkAll(t, dataKeys, [to.key], 'at the end'), 0)
  for (const bundle of all) if (!await opens(bundle, to.key)) t.fail(bundle)
  t.same((await readdir(folder)).sort(), all.map((bundle) => path.basename(bundle)).sort(), 'nothing is left beside them')
})
