import { appendFileSync, chmodSync, readFileSync, statSync, truncateSync, writeFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { openIdentities, type Identities } from '../../src/audit/identities.ts'
import { fileHandleMethods } from './log-fixture.ts'

const november = Date.UTC(2026, 10, 30, 23, 59, 59, 999)
const december = Date.UTC(2026, 11, 1)

function inFile (t: Test): string {
  return path.join(t.testdir(), 'private', 'identities.jsonl')
}

async function reopened (file: string, identities: Identities, clock = () => november): Promise<Identities> {
  await identities.close()
  return await openIdentities({ file, clock })
}

t.test('a principal keeps a random pseudonym and key for a month, across restarts', async (t) => {
  const file = inFile(t)
  const first = await openIdentities({ file, clock: () => november })
  const { pseudonym, digests } = first.principal('ann')
  t.match(pseudonym, /^u_[0-9A-Za-z]{22}$/)
  t.match(digests.digest('input', 'x'), /^hmac-sha256:k_[0-9A-Za-z]{12}:[0-9a-f]{64}$/)
  t.equal(first.principal('ann').digests, digests)
  t.not(first.principal('bob').pseudonym, pseudonym)
  t.not(first.principal('bob').digests.digest('input', 'x').slice(30), digests.digest('input', 'x').slice(30))
  const second = await reopened(file, first)
  t.equal(second.principal('ann').pseudonym, pseudonym)
  t.equal(second.principal('ann').digests.digest('input', 'x'), digests.digest('input', 'x'))
  t.equal(second.pending, false, 'and nothing new was drawn')
  await second.close()
})

t.test('a new month has a new key under the same pseudonym, and the old one is kept', async (t) => {
  const file = inFile(t)
  let now = november
  const identities = await openIdentities({ file, clock: () => now })
  const before = identities.principal('ann')
  now = december
  const after = identities.principal('ann')
  t.equal(after.pseudonym, before.pseudonym)
  t.not(after.digests.keyId, before.digests.keyId)
  now = november
  t.equal(identities.principal('ann').digests.keyId, before.digests.keyId)
  const again = await reopened(file, identities, () => december)
  t.equal(again.principal('ann').digests.digest('input', 'x'), after.digests.digest('input', 'x'))
  await again.close()
})

t.test('a credential has its own pseudonym, for each principal that presents it', async (t) => {
  const file = inFile(t)
  const first = await openIdentities({ file })
  const pseudonym = first.credential('ann', 'key-1')
  t.match(pseudonym, /^c_[0-9A-Za-z]{22}$/)
  t.equal(first.credential('ann', 'key-1'), pseudonym)
  t.not(first.credential('ann', 'key-2'), pseudonym)
  t.not(first.credential('bob', 'key-1'), pseudonym)
  const second = await reopened(file, first)
  t.equal(second.credential('ann', 'key-1'), pseudonym)
  await second.close()
})

t.test('looking for a pseudonym draws none', async (t) => {
  const identities = await openIdentities({ file: inFile(t) })
  t.equal(identities.pseudonymOf('ann'), undefined)
  t.equal(identities.pending, false)
  t.equal(identities.pseudonymOf('ann'), undefined)
  const { pseudonym } = identities.principal('ann')
  t.equal(identities.pseudonymOf('ann'), pseudonym)
  await identities.close()
})

t.test('what was drawn is pending until it is flushed', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  t.equal(identities.pending, false)
  identities.principal('ann')
  t.equal(identities.pending, true)
  let whileSyncing: boolean | undefined
  t.intercept(await fileHandleMethods(), 'datasync', { value: async () => { whileSyncing = identities.pending } })
  await identities.flush()
  t.equal(whileSyncing, true, 'also while it is being written')
  t.equal(identities.pending, false)
  t.match(readFileSync(file, 'utf8'), /"ann"/)
  await identities.close()
})

t.test('only the owner may read the map', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  identities.principal('ann')
  await identities.flush()
  t.equal(statSync(file).mode & 0o777, 0o600)
  await identities.forget('ann')
  t.equal(statSync(file).mode & 0o777, 0o600)
  await identities.close()
  chmodSync(file, 0o640)
  await t.rejects(openIdentities({ file }), { code: 'FMG_ERR_FILE', message: /others may read it/ })
})

t.test('a forgotten person is in neither the map nor the file, and gets a new pseudonym', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  const { pseudonym } = identities.principal('ann')
  const credential = identities.credential('ann', 'key-of-ann')
  const bob = identities.principal('bob')
  const credentialOfBob = identities.credential('bob', 'key-of-bob')
  await identities.flush()
  t.equal(await identities.forget('ann'), true)
  const left = readFileSync(file, 'utf8')
  t.notMatch(left, /"ann"/)
  t.notOk(left.includes(pseudonym))
  t.notOk(left.includes(credential))
  t.not(identities.principal('ann').pseudonym, pseudonym)
  t.not(identities.credential('ann', 'key-of-ann'), credential)
  const again = await reopened(file, identities)
  t.not(again.principal('ann').pseudonym, pseudonym)
  t.equal(again.principal('bob').pseudonym, bob.pseudonym)
  t.equal(again.principal('bob').digests.digest('f', 'x'), bob.digests.digest('f', 'x'))
  t.equal(again.credential('bob', 'key-of-bob'), credentialOfBob)
  await again.close()
})

t.test('forgetting somebody unknown changes nothing', async (t) => {
  const identities = await openIdentities({ file: inFile(t) })
  t.equal(await identities.forget('ann'), false)
  t.equal(identities.pending, false)
  await identities.close()
})

t.test('a person forgotten while being written is not in the file afterwards, and who is drawn meanwhile is there once', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  identities.principal('ann')
  const flushing = identities.flush()
  const forgetting = identities.forget('ann')
  identities.principal('bob')
  await Promise.all([flushing, forgetting])
  identities.principal('cleo')
  await identities.close()
  const text = readFileSync(file, 'utf8')
  t.notMatch(text, /"ann"/)
  t.equal(text.split('"bob"').length, 2)
  t.equal(text.split('"cleo"').length, 2)
})

t.test('a torn last line is cut, and the next line begins on its own', async (t) => {
  const file = inFile(t)
  const first = await openIdentities({ file })
  const ann = first.principal('ann').pseudonym
  await first.flush()
  first.principal('bob')
  await first.close()
  truncateSync(file, statSync(file).size - 5)
  const second = await openIdentities({ file })
  t.equal(second.principal('ann').pseudonym, ann)
  second.principal('cleo')
  const third = await reopened(file, second)
  t.not(third.pseudonymOf('cleo'), undefined)
  await third.close()
})

t.test('a damaged map does not open', async (t) => {
  const file = inFile(t)
  await (await openIdentities({ file })).close()
  for (const line of ['not json', '[]', 'null', '{}', '{"principal":"a"}', '{"principal":"a","pseudonym":1}', '{"principal":"a","pseudonym":"u","more":"x"}']) {
    writeFileSync(file, line + '\n')
    await t.rejects(openIdentities({ file }), { code: 'FMG_ERR_FILE', message: /holds a line that is not/ }, line)
  }
  writeFileSync(file, '{"pseudonym":"u_1","epoch":"2026-11","key_id":"k","key":"AA"}\n{"pseudonym":"u_1","credential":"c","credential_pseudonym":"c_1"}\n')
  const orphans = await openIdentities({ file })
  t.equal(orphans.pseudonymOf('u_1'), undefined, 'keys and credentials of nobody are passed over')
  await orphans.close()
})

t.test('ids that mean something to JavaScript or JSON are ids like any other', async (t) => {
  const file = inFile(t)
  const ids = ['__proto__', 'constructor', '', 'line\nfeed', '"', '\ud800', '\u{1f600}', 'x'.repeat(100_000)]
  const first = await openIdentities({ file })
  const pseudonyms = ids.map((id) => first.principal(id).pseudonym)
  t.equal(new Set(pseudonyms).size, ids.length)
  const second = await reopened(file, first)
  t.same(ids.map((id) => second.pseudonymOf(id)), pseudonyms)
  await second.close()
})

t.test('after a failed sync the file is written anew, and nobody is lost', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  const ann = identities.principal('ann').pseudonym
  await identities.flush()
  const inode = statSync(file).ino
  const restore = t.intercept(await fileHandleMethods(), 'datasync', { value: async () => { throw Object.assign(new Error('EIO'), { code: 'EIO' }) } })
  identities.principal('bob')
  await t.rejects(identities.flush(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE', reason: 'identities-unwritable' })
  t.equal(identities.pending, true)
  await t.rejects(identities.flush(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }, 'and again while the disk fails')
  restore.restore()
  await identities.flush()
  t.equal(identities.pending, false)
  t.not(statSync(file).ino, inode)
  identities.principal('cleo')
  const again = await reopened(file, identities)
  t.equal(again.pseudonymOf('ann'), ann)
  t.ok(again.pseudonymOf('bob'))
  t.ok(again.pseudonymOf('cleo'))
  await again.close()
})

t.test('a person who cannot be forgotten on disk stays pending until it is possible', async (t) => {
  const file = inFile(t)
  const identities = await openIdentities({ file })
  identities.principal('ann')
  await identities.flush()
  const folder = path.dirname(file)
  rmSync(folder, { recursive: true })
  writeFileSync(folder, 'in the way')
  await t.rejects(identities.forget('ann'), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  t.equal(identities.pending, true)
  t.equal(identities.pseudonymOf('ann'), undefined)
  await t.rejects(identities.forget('ann'), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }, 'nobody is told that there is nothing to forget while it stands in the file')
  rmSync(folder)
  appendFileSync(path.join(t.testdir({ private: {} }), 'private', 'other'), '')
  t.equal(await identities.forget('ann'), true)
  t.equal(await identities.forget('ann'), false)
  t.notMatch(readFileSync(file, 'utf8'), /ann/)
  await identities.close()
})

t.test('one key of a principal outlives the epochs, and goes when the principal is forgotten', async (t) => {
  const file = path.join(t.testdir(), 'identities.jsonl')
  let now = Date.UTC(2026, 0, 15)
  const identities = await openIdentities({ file, clock: () => now })
  const first = identities.principal('ann')
  const digest = first.lasting.digest('address', 'x')
  t.equal(first.lasting, first.lasting)
  t.not(digest, identities.principal('bob').lasting.digest('address', 'x'))
  now = Date.UTC(2026, 1, 15)
  t.not(identities.principal('ann').digests.keyId, first.digests.keyId)
  t.equal(identities.principal('ann').lasting.digest('address', 'x'), digest)
  await identities.close()
  const again = await openIdentities({ file, clock: () => now })
  t.equal(again.principal('ann').lasting.digest('address', 'x'), digest)
  await again.forget('ann')
  t.not(again.principal('ann').lasting.digest('address', 'x'), digest)
  await again.close()
})
