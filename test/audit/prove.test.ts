import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { signCheckpoint } from '../../src/audit/checkpoint.ts'
import { hashLeaf, toDigest } from '../../src/audit/merkle.ts'
import { signNote } from '../../src/audit/note.ts'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { proveConsistency, proveInclusion } from '../../src/audit/prove.ts'
import { tileHashes } from '../../src/audit/tile-hashes.ts'
import { writeTiles } from '../../src/audit/tiles.ts'
import { formatTlogProof, parseTlogProof } from '../../src/audit/tlog-proof.ts'
import { createTree } from '../../src/audit/tree.ts'
import { verifyProof } from '../../src/audit/verify-proof.ts'
import { appendAll, openTestLog, origin, readLines, signer, verifierKey } from './log-fixture.ts'
import { inclusionPath, leafHash, sha256, subProof, treeHash } from './merkle-by-the-book.ts'

/** Tiles of so many leaves on disk, and their hashes. */
async function tilesOf (directory: string, size: number): Promise<Buffer[]> {
  const tree = createTree()
  const lines = Array.from({ length: size }, (_, index) => Buffer.from(`line ${index}`))
  for (const line of lines) tree.append(line, 0, line.length, hashLeaf(line))
  await writeTiles(directory, [...tree.full, ...tree.partial()].filter(({ level }) => level !== 'entries'))
  return lines.map(leafHash)
}

interface MadeLog {
  readonly directory: string
  /** Of the first 300 records. */
  readonly earlier: string
}

/** 600 records, checkpointed at 300 and 600. */
async function makeLog (t: Test): Promise<MadeLog> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory)
  await appendAll(log, 0, 300)
  const { note: earlier } = await log.checkpoint()
  await appendAll(log, 300, 600)
  await log.close()
  return { directory, earlier }
}

t.test('proofs from tiles are those of the book, at every size under the checkpoint', async (t) => {
  const directory = t.testdir()
  const leaves = await tilesOf(directory, 700)
  for (const size of [1, 2, 3, 5, 8, 255, 256, 257, 300, 511, 512, 513, 699, 700]) {
    const under = leaves.slice(0, size)
    for (const index of new Set([0, 1, 2, 254, 255, 256, 257, size >> 1, size - 2, size - 1])) {
      if (index < 0 || index >= size) continue
      const hashes = tileHashes(directory, 700)
      t.same(await proveInclusion(hashes, index, size), inclusionPath(index, under), `record ${index} in ${size}`)
      t.same(await proveConsistency(hashes, index + 1, size), subProof(index + 1, under, true), `${index + 1} in ${size}`)
    }
    t.same(await proveConsistency(tileHashes(directory, 700), 0, size), [], 'of nothing there is nothing to prove')
  }
})

t.test('proofs reach over the tiles of the second level', { timeout: 120_000 }, async (t) => {
  const directory = t.testdir()
  const leaves = await tilesOf(directory, 66_000)
  const hashes = tileHashes(directory, 66_000)
  for (const [index, size] of [[0, 66_000], [65_535, 66_000], [65_999, 66_000], [300, 65_536]] as const) {
    const under = leaves.slice(0, size)
    t.same(await proveInclusion(hashes, index, size), inclusionPath(index, under), `record ${index} in ${size}`)
    t.same(await proveConsistency(hashes, index + 1, size), subProof(index + 1, under, true), `${index + 1} in ${size}`)
  }
})

t.test('a record is proven under the last checkpoint, and under any earlier one', async (t) => {
  const { directory, earlier } = await makeLog(t)
  const lines = readLines(directory)
  for (const [seq, checkpoint, size] of [[0, undefined, 600], [599, undefined, 600], [255, undefined, 600], [0, earlier, 300], [299, earlier, 300]] as const) {
    const { line, proof } = await proveRecord({ directory, seq, checkpoint, verifierKey })
    t.equal(Buffer.from(line ?? []).toString(), lines[seq])
    t.match(verifyProof({ proof, entry: lines[seq] ?? '', verifierKey }), { index: seq, checkpoint: { origin, size } })
    const under = lines.slice(0, size).map((text) => leafHash(Buffer.from(text)))
    t.same(parseTlogProof(proof).hashes, inclusionPath(seq, under))
  }
  t.match(await proveRecord({ directory, seq: 7 }), { seq: 7 }, 'also by who has no key')
})

t.test('a proof holds for its own record alone, whatever of it is changed', async (t) => {
  const { directory } = await makeLog(t)
  const [line = '', other = ''] = readLines(directory).slice(7)
  const { proof } = await proveRecord({ directory, seq: 7 })
  const parsed = parseTlogProof(proof)
  const refuse = (wrong: string, what: string, entry = line): void => {
    t.throws(() => verifyProof({ proof: wrong, entry, verifierKey }), { code: 'FMG_ERR_LOG_INCONSISTENT' }, what)
  }
  t.ok(verifyProof({ proof, entry: Buffer.from(line), verifierKey }))
  refuse(proof, 'another line', other)
  refuse(proof, 'with a line feed', `${line}\n`)
  refuse(formatTlogProof({ ...parsed, index: 8 }), 'another index')
  for (let at = 0; at < parsed.hashes.length; at++) {
    refuse(formatTlogProof({ ...parsed, hashes: parsed.hashes.with(at, sha256()) }), `another hash ${at}`)
    refuse(formatTlogProof({ ...parsed, hashes: parsed.hashes.toSpliced(at, 1) }), `without hash ${at}`)
  }
  refuse(formatTlogProof({ ...parsed, hashes: [...parsed.hashes, sha256()] }), 'one hash more')
  refuse(proof.replace('\n600\n', '\n601\n'), 'another size')
  const leaves = readLines(directory).map((text) => leafHash(Buffer.from(text)))
  const forged = leaves.with(7, leafHash(Buffer.from('forged')))
  const wrongRoot = await signCheckpoint(origin, 600, toDigest(treeHash(forged)), signer)
  refuse(formatTlogProof({ ...parsed, checkpoint: wrongRoot.note }), 'another root, under the right key')
  refuse(formatTlogProof({ ...parsed, checkpoint: await signNote('example.com/other\n600\n' + treeHash(leaves).toString('base64') + '\n', origin, signer) }), 'of another origin')
  refuse(proof.replace(treeHash(leaves).toString('base64'), treeHash(forged).toString('base64')), 'a root that nobody signed')
  t.throws(() => verifyProof({ proof, entry: line, verifierKey: 'no key' }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.ok(verifyProof({ proof: formatTlogProof({ ...parsed, extra: Buffer.from('said by nobody') }), entry: line, verifierKey }))
})

t.test('no proof is given that would not verify', async (t) => {
  const { directory, earlier } = await makeLog(t)
  const at = (name: string): string => path.join(directory, name)
  const changing = async (name: string, change: (bytes: Buffer) => Buffer | undefined, seq: number, what: RegExp): Promise<void> => {
    const bytes = readFileSync(at(name))
    const changed = change(Buffer.from(bytes))
    if (changed === undefined) rmSync(at(name))
    else writeFileSync(at(name), changed)
    await t.rejects(proveRecord({ directory, seq }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: what }, name)
    writeFileSync(at(name), bytes)
  }
  const flip = (place: number) => (bytes: Buffer): Buffer => {
    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
    return bytes
  }
  await changing('tile/0/000', () => undefined, 3, /tile\/0\/000 is missing or cut short/)
  await changing('tile/0/000', (bytes) => bytes.subarray(0, -1), 3, /tile\/0\/000 is missing or cut short/)
  await changing('tile/0/000', flip(32 * 3), 3, /the tiles above record 3 do not have the root/)
  await changing('tile/0/000', flip(32 * 4), 3, /the tiles above record 3 do not have the root/)
  await changing('tile/1/000.p/2', flip(32), 3, /the tiles above record 3 do not have the root of the checkpoint of 600/)
  await changing('tile/entries/000', flip(20), 0, /record 0 does not have the hash in its tile/)
  await changing('checkpoint', (bytes) => Buffer.from(bytes.toString().replace('\n600\n', '\n599\n')), 3, /the tiles above record 3|missing/)
  await t.resolves(proveRecord({ directory, seq: 3 }))

  await t.rejects(proveRecord({ directory, seq: 3, checkpoint: earlier.replace('\n300\n', '\n299\n'), verifierKey }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /does not verify/ })
  const [, other = ''] = (await signNote('x\n', 'example.com/other', signer)).split('\n\n')
  writeFileSync(at('checkpoint'), readFileSync(at('checkpoint'), 'utf8').replace(/— .*\n/, other))
  await t.rejects(proveRecord({ directory, seq: 3, checkpoint: earlier, verifierKey }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /no signature of a known key/ }, 'also where only the last is not the log\'s')
})

t.test('what no checkpoint covers cannot be proven', async (t) => {
  const { directory, earlier } = await makeLog(t)
  for (const seq of [600, -1, 0.5, NaN]) await t.rejects(proveRecord({ directory, seq }), { code: 'FMG_ERR_OPTION_INVALID', message: /seq must be below 600/ })
  await t.rejects(proveRecord({ directory, seq: 300, checkpoint: earlier }), { code: 'FMG_ERR_OPTION_INVALID', message: /seq must be below 300/ })
  const later = await signCheckpoint(origin, 601, toDigest(sha256()), signer)
  await t.rejects(proveRecord({ directory, seq: 3, checkpoint: later.note }), { code: 'FMG_ERR_OPTION_INVALID', message: /checkpoint must be of at most 600 records/ })
  await t.rejects(proveRecord({ directory, seq: 3, verifierKey: 'no key' }), { code: 'FMG_ERR_OPTION_INVALID' })
  rmSync(path.join(directory, 'checkpoint'))
  await t.rejects(proveRecord({ directory, seq: 3 }), { code: 'FMG_ERR_FILE' })
})

t.test('a line that is no longer kept leaves its proof', async (t) => {
  const { directory } = await makeLog(t)
  const [line = ''] = readLines(directory)
  renameSync(path.join(directory, 'tile/entries/000'), path.join(directory, 'away'))
  const { line: kept, proof } = await proveRecord({ directory, seq: 0 })
  t.equal(kept, undefined)
  t.match(verifyProof({ proof, entry: line, verifierKey }), { index: 0 })
})

t.test('a proof is written and read as C2SP tlog-proof says', async (t) => {
  const hash = sha256()
  const whole = { extra: Buffer.from('more'), index: 73_894, hashes: [hash, hash], checkpoint: 'example.com/log\n109482\nroot\n\n— signature\n' }
  const text = `c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 73894\n${hash.toString('base64')}\n${hash.toString('base64')}\n\nexample.com/log\n109482\nroot\n\n— signature\n`
  t.equal(formatTlogProof(whole), text)
  t.same(parseTlogProof(text), whole)
  const small = { index: 0, hashes: [], checkpoint: 'c' }
  t.equal(formatTlogProof(small), 'c2sp.org/tlog-proof@v1\nindex 0\n\nc')
  t.same(parseTlogProof('c2sp.org/tlog-proof@v1\nindex 0\n\nc'), small)
  const many = (count: number): string => `c2sp.org/tlog-proof@v1\nindex 0\n${`${hash.toString('base64')}\n`.repeat(count)}\nc`
  t.equal(parseTlogProof(many(63)).hashes.length, 63)
  for (const [wrong, what] of [
    ['', /blank line/], ['c2sp.org/tlog-proof@v1\n\nc', /index/], ['c2sp.org/tlog-proof@v1\nextra bW9yZQ==\n\nc', /index/], [text.replace('\n\n', '\n'), /malformed hash/], [text.replaceAll('\n\n', '\n'), /blank line/], [text.replace('@v1', '@v2'), /begin with/], [` ${text}`, /begin with/],
    [text.replace('extra bW9yZQ==', 'extra bW9yZQ'), /extra/], [text.replace('extra bW9yZQ==', 'extra '), /extra/], [text.replace('extra ', 'other '), /index/],
    [text.replace('index 73894', 'index 073894'), /index/], [text.replace('index 73894', 'index -1'), /index/], [text.replace('index 73894', 'an index 73894'), /index/], [text.replace('index 73894', 'index 9007199254740992'), /index/],
    [text.replace('index 73894\n', ''), /index/], [text.replace('index 73894\n', 'index 1\nindex 1\n'), /hash/], [text.replace('FU=\n', 'FU\n'), /hash/],
    [text.replace(hash.toString('base64'), hash.subarray(1).toString('base64')), /hash/], [text.replace('\n4', '\r\n4'), /index/], [many(64), /more than 63/]
  ] as const) t.throws(() => parseTlogProof(wrong), { code: 'FMG_ERR_LOG_INCONSISTENT', message: what }, wrong.slice(0, 60))
})
