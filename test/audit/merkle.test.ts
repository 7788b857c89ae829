import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { emptyRoot, fromDigest, hashLeaf, hashNode, toDigest, verifyConsistency, verifyInclusion, type Digest } from '../../src/audit/merkle.ts'
import { cutTile, isOnDisk, parseBundle, readTile, removePartials, tilePath, writeTiles, type Tile } from '../../src/audit/tiles.ts'
import { createTree, type LogTree } from '../../src/audit/tree.ts'
import { inclusionPath, sha256, subProof, treeHash } from './merkle-by-the-book.ts'

const root0 = sha256()

const lines = Array.from({ length: 700 }, (_, index) => Buffer.from(`line ${index}`))
const leaves = lines.map((line) => sha256(Buffer.of(0), line))

function grow (tree: LogTree, from: number, to: number): LogTree {
  for (const line of lines.slice(from, to)) tree.append(line, 0, line.length, hashLeaf(line))
  return tree
}

t.test('leaves and nodes are hashed as RFC 6962 says', async (t) => {
  t.equal(fromDigest(hashLeaf(Buffer.from('a'))).toString('hex'), sha256(Buffer.of(0), Buffer.from('a')).toString('hex'))
  t.equal(fromDigest(hashLeaf(Buffer.alloc(0))).toString('hex'), '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d')
  t.equal(fromDigest(hashNode(toDigest(sha256()), toDigest(sha256()))).toString('hex'), sha256(Buffer.of(1), sha256(), sha256()).toString('hex'))
  t.equal(fromDigest(emptyRoot).toString('hex'), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
})

t.test('a tree has the root of its leaves at every size', async (t) => {
  const tree = createTree()
  for (let size = 0; size <= 300; size++) {
    if (fromDigest(tree.root()).compare(treeHash(leaves.slice(0, size))) !== 0) t.fail(`root at ${size}`)
    grow(tree, size, size + 1)
  }
  t.equal(tree.size, 301)
})

t.test('tiles and bundles become full at every 256th leaf, entries first', async (t) => {
  const tree = grow(createTree(), 0, 600)
  t.same(tree.full.map(({ level, index, width }) => [level, index, width]), [['entries', 0, 256], [0, 0, 256], ['entries', 1, 256], [0, 1, 256]])
  t.same(tree.full[1]?.bytes, Buffer.concat(leaves.slice(0, 256)))
  t.same(parseBundle(tree.full[2]?.bytes ?? Buffer.alloc(1)), lines.slice(256, 512))
  t.equal(tree.fullBytes, tree.full.reduce((sum, { bytes }) => sum + bytes.length, 0))
  const partial = tree.partial()
  t.same(partial.map(({ level, index, width }) => [level, index, width]), [['entries', 2, 88], [0, 2, 88], [1, 0, 2]])
  t.same(partial[2]?.bytes, Buffer.concat([treeHash(leaves.slice(0, 256)), treeHash(leaves.slice(256, 512))]))
  grow(tree, 600, 700)
  t.same(partial[1]?.bytes, Buffer.concat(leaves.slice(512, 600)), 'and what was given is not changed by what comes')
  tree.dropFull(3)
  t.same(tree.full.map(({ level, index }) => [level, index]), [[0, 1]])
  t.equal(tree.fullBytes, 8192)
})

t.test('a tile of the second level becomes full at 65,536 leaves', async (t) => {
  const tree = createTree()
  const line = Buffer.from('same')
  const leaf = hashLeaf(line)
  let expected: Digest = leaf
  for (let height = 0; height < 16; height++) expected = hashNode(expected, expected)
  for (let n = 0; n < 65_535; n++) tree.append(line, 0, line.length, leaf)
  t.same(tree.partial().map(({ level, width }) => [level, width]), [['entries', 255], [0, 255], [1, 255]])
  tree.append(line, 0, line.length, leaf)
  t.equal(tree.root(), expected)
  t.same(tree.full.at(-1)?.level, 1)
  t.same(tree.partial().map(({ level, index, width }) => [level, index, width]), [[2, 0, 1]])
})

t.test('a tree taken up from its tiles goes on as if it had never been left', async (t) => {
  const whole = grow(createTree(), 0, 700)
  const resumed = createTree(512)
  for (const start of [0, 256]) resumed.appendSubtree(1, toDigest(treeHash(leaves.slice(start, start + 256))))
  t.equal(resumed.size, 512)
  t.same(fromDigest(resumed.root()), treeHash(leaves.slice(0, 512)))
  grow(resumed, 512, 700)
  t.equal(resumed.root(), whole.root())
  t.same(resumed.partial(), whole.partial())
})

t.test('entries of any size fit into a bundle', async (t) => {
  const tree = createTree()
  const entries = Array.from({ length: 256 }, (_, index) => Buffer.alloc(index % 2 === 0 ? 65_535 : 0, index))
  for (const entry of entries) tree.append(entry, 0, entry.length, hashLeaf(entry))
  t.same(parseBundle(tree.full[0]?.bytes ?? Buffer.alloc(1)), entries)
})

t.test('a bundle that is cut short anywhere is refused', async (t) => {
  const bundle = grow(createTree(), 0, 2).partial()[0]?.bytes ?? Buffer.alloc(0)
  t.equal(bundle.length, 16)
  for (let length = 1; length < bundle.length; length++) {
    if (length !== 8) t.throws(() => parseBundle(bundle.subarray(0, length)), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  }
  t.same(parseBundle(bundle.subarray(0, 8)), lines.slice(0, 1))
  t.same(parseBundle(Buffer.alloc(0)), [])
})

t.test('a proof made by the book holds, and no other leaf, place, size, root or path does', async (t) => {
  for (const size of [1, 2, 3, 7, 8, 21, 64]) {
    const under = leaves.slice(0, size)
    const root = treeHash(under)
    for (const [index, leaf] of under.entries()) {
      const proof = inclusionPath(index, under)
      const claim = { index, size, leaf, root, proof }
      if (!verifyInclusion(claim)) t.fail(`inclusion ${index} in ${size}`)
      for (const wrong of [
        { leaf: sha256(leaf) }, { root: sha256(root) }, { index: index + 1 }, { index: -1 }, { index: 0.5 }, { size: size * 2 }, { size: NaN },
        { size: 0 }, { proof: [...proof, root] }, { proof: [root, ...proof] }, { leaf: leaf.subarray(1) }, { proof: [...proof, Buffer.alloc(0)] },
        ...proof.length > 0 ? [{ proof: proof.slice(1) }, { proof: proof.slice(0, -1) }, { proof: proof.with(0, sha256()) }] : []
      ]) if (verifyInclusion({ ...claim, ...wrong })) t.fail(`${JSON.stringify(wrong)} for ${index} in ${size}`)
    }
  }
})

t.test('a tree is consistent with every prefix of itself, and with no other tree', async (t) => {
  const size2 = 45
  const root2 = treeHash(leaves.slice(0, size2))
  for (let size1 = 1; size1 <= size2; size1++) {
    const root1 = treeHash(leaves.slice(0, size1))
    const proof = subProof(size1, leaves.slice(0, size2), true)
    const claim = { size1, size2, root1, root2, proof }
    if (!verifyConsistency(claim)) t.fail(`consistency of ${size1}`)
    for (const wrong of [
      { root1: sha256(root1) }, { root2: sha256(root2) }, { size1: size1 - 1 }, { size1: -size1 }, { size1: size1 + 0.5 }, { size2: size2 * 2 }, { size2: size1 - 1 },
      { proof: [...proof, root1] }, { proof: [root2, ...proof] }, { root1: root1.subarray(1) }, ...proof.length > 0 ? [{ proof: [] }, { proof: proof.slice(1) }, { proof: proof.slice(0, -1) }] : []
    ]) if (verifyConsistency({ ...claim, ...wrong })) t.fail(`${JSON.stringify(wrong)} for ${size1}`)
  }
})

t.test('the empty tree is consistent with nothing that a proof could say', async (t) => {
  const root = treeHash(leaves.slice(0, 3))
  t.equal(verifyConsistency({ size1: 0, size2: 3, root1: sha256(), root2: root, proof: [] }), false)
  t.equal(verifyConsistency({ size1: 0, size2: 0, root1: sha256(), root2: sha256(), proof: [] }), false)
  t.equal(verifyInclusion({ index: 0, size: 0, leaf: sha256(), root: sha256(), proof: [] }), false)
})

t.test('a proof for a larger tree does not hold for a smaller one of the same root', async (t) => {
  const [first = root0, second = root0] = leaves
  const root = sha256(Buffer.of(1), first, second)
  t.equal(verifyInclusion({ index: 1, size: 2, leaf: second, root, proof: [first] }), true)
  t.equal(verifyInclusion({ index: 0, size: 1, leaf: second, root, proof: [first] }), false)
  const [three, four] = [treeHash(leaves.slice(0, 3)), treeHash(leaves.slice(0, 4))]
  const proof = subProof(3, leaves.slice(0, 4), true)
  t.equal(verifyConsistency({ size1: 3, size2: 4, root1: three, root2: four, proof }), true)
  const under = (tree: Buffer): Buffer => sha256(Buffer.of(1), first, tree)
  t.equal(verifyConsistency({ size1: 3, size2: 4, root1: under(three), root2: under(four), proof: [...proof, first] }), false)
})

t.test('proofs reach beyond 32 bits', async (t) => {
  // A tree of 2^40 equal leaves: every subtree of a height is the same.
  const heights = [sha256(Buffer.of(0))]
  for (let height = 0; height < 40; height++) heights.push(sha256(Buffer.of(1), heights[height] ?? root0, heights[height] ?? root0))
  const [leaf = root0] = heights
  const proof = heights.slice(0, 40)
  const claim = { index: 2 ** 39 + 5, size: 2 ** 40, leaf, root: heights[40] ?? root0, proof }
  t.equal(verifyInclusion(claim), true)
  t.equal(verifyInclusion({ ...claim, size: 2 ** 8 }), false)
  t.equal(verifyConsistency({ size1: 2 ** 39, size2: 2 ** 40, root1: heights[39] ?? root0, root2: claim.root, proof: heights.slice(39, 40) }), true)
  t.equal(verifyConsistency({ size1: 2 ** 39 + 1, size2: 2 ** 40, root1: heights[39] ?? root0, root2: claim.root, proof: heights.slice(39, 40) }), false)
})

t.test('tiles stand where C2SP tlog-tiles says', async (t) => {
  t.equal(tilePath(0, 0, 256), 'tile/0/000')
  t.equal(tilePath(0, 273, 112), 'tile/0/273.p/112')
  t.equal(tilePath(1, 1000, 256), 'tile/1/x001/000')
  t.equal(tilePath('entries', 1_234_067, 256), 'tile/entries/x001/x234/067')
  t.equal(tilePath(2, 1_000_000, 1), 'tile/2/x001/x000/000.p/1')
})

t.test('tiles are read back, a partial one also from the full one that took its place', async (t) => {
  const folder = t.testdir()
  const tree = grow(createTree(), 0, 10)
  const partial = tree.partial()
  await writeTiles(folder, partial)
  for (const tile of partial) {
    t.same(await readTile(folder, tile.level, tile.index, tile.width), tile.bytes)
    t.equal(await isOnDisk(folder, tile), true)
    t.equal(await isOnDisk(folder, { ...tile, bytes: Buffer.concat([tile.bytes, Buffer.of(0)]) }), false)
    t.equal(await isOnDisk(folder, { ...tile, width: 11 }), false)
  }
  grow(tree, 10, 256)
  await writeTiles(folder, tree.full)
  await removePartials(folder, tree.full)
  t.equal(existsSync(path.join(folder, 'tile/0/000.p')), false)
  for (const { level, index, width, bytes } of partial) t.same(await readTile(folder, level, index, width), bytes)
  t.equal(await readTile(folder, 0, 1, 256), undefined)
})

t.test('the beginning of a damaged bundle ends where it ends', async () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(300), (bytes, width) => cutTile('entries', bytes, width).length <= bytes.length))
})

t.test('a tile that cannot be written is an error, not a gap', async (t) => {
  const folder = t.testdir({ tile: 'in the way' })
  const tile: Tile = { level: 0, index: 0, width: 1, bytes: Buffer.alloc(32) }
  await t.rejects(writeTiles(folder, [tile]), { code: 'ENOTDIR' })
  rmSync(path.join(folder, 'tile'))
  mkdirSync(path.join(folder, 'tile/0/000.p/1'), { recursive: true })
  await t.rejects(writeTiles(folder, [tile]), { code: 'EISDIR' })
  rmSync(path.join(folder, 'tile/0/000.p/1'), { recursive: true })
  writeFileSync(path.join(folder, 'tile/0/000.p/1.tmp'), 'left by a crash, and longer than what is right')
  await writeTiles(folder, [tile])
  t.same(readFileSync(path.join(folder, 'tile/0/000.p/1')), tile.bytes)
})
