import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { hasRoot, openCheckpoint } from '../../src/audit/checkpoint.ts'
import { fromDigest, hashLeaf, verifyConsistency } from '../../src/audit/merkle.ts'
import { formatVerifierKey, parseVerifierKey } from '../../src/audit/note.ts'
import { proveConsistency } from '../../src/audit/prove.ts'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { tileHashes } from '../../src/audit/tile-hashes.ts'
import { isOnDisk, parseBundle, readTile, tileWidth } from '../../src/audit/tiles.ts'
import { createTree } from '../../src/audit/tree.ts'
import { verifyProof } from '../../src/audit/verify-proof.ts'
import { vectorsFolder } from './vectors.ts'

if (vectorsFolder === undefined) {
  t.comment('tlog: skipped, no vectors folder')
} else {
  const folder = path.join(vectorsFolder, 'tlog/tessera')
  const counts = { checkpoints: 0, tiles: 0, proofs: 0 }
  t.test('a published log of tiles has the roots that its checkpoints sign', async (t) => { await reproduce(t, folder, counts) })
  t.test('every entry of a published log is proven under each of its checkpoints', async (t) => { await prove(t, folder, counts) })
  t.teardown(() => { process.stderr.write(`tlog-tiles (tessera): ${counts.checkpoints} checkpoints, ${counts.tiles} tiles and ${counts.proofs} proofs run, 0 skipped\n`) })
}

interface Counts {
  checkpoints: number
  tiles: number
  proofs: number
}

async function prove (t: Test, directory: string, counts: Counts): Promise<void> {
  const verifierKey = readFileSync(path.join(directory, 'vkey'), 'utf8').trim()
  const newest = openCheckpoint(readFileSync(path.join(directory, 'checkpoint')), parseVerifierKey(verifierKey))
  const hashes = tileHashes(directory, newest.size)
  for (const name of readdirSync(directory).filter((name) => name.startsWith('checkpoint'))) {
    const checkpoint = openCheckpoint(readFileSync(path.join(directory, name)), parseVerifierKey(verifierKey))
    for (let seq = 0; seq < checkpoint.size; seq++, counts.proofs++) {
      const { line = Buffer.alloc(0), proof } = await proveRecord({ directory, seq, checkpoint: checkpoint.note, verifierKey })
      t.equal(verifyProof({ proof, entry: line, verifierKey }).index, seq)
      t.throws(() => verifyProof({ proof, entry: Buffer.concat([line, Buffer.of(0)]), verifierKey }))
    }
    if (checkpoint.size === 0) continue
    const proof = await proveConsistency(hashes, checkpoint.size, newest.size)
    t.ok(verifyConsistency({ size1: checkpoint.size, size2: newest.size, root1: checkpoint.root, root2: newest.root, proof }), `${name} is a beginning of the last`)
    counts.proofs++
  }
  t.ok(counts.proofs > 100)
  t.same(fromDigest(await hashes(0, newest.size)), newest.root)
}

async function reproduce (t: Test, folder: string, counts: Counts): Promise<void> {
  const vkey = readFileSync(path.join(folder, 'vkey'), 'utf8').trim()
  const key = parseVerifierKey(vkey)
  t.equal(formatVerifierKey(key.name, key.publicKey), vkey)
  for (const name of readdirSync(folder).filter((name) => name.startsWith('checkpoint'))) {
    const checkpoint = openCheckpoint(readFileSync(path.join(folder, name)), key)
    const tree = createTree()
    while (tree.size < checkpoint.size) {
      const bundle = await readTile(folder, 'entries', tree.size / tileWidth, Math.min(tileWidth, checkpoint.size - tree.size))
      for (const entry of parseBundle(bundle ?? Buffer.alloc(1))) tree.append(Buffer.from(entry), 0, entry.length, hashLeaf(entry))
    }
    t.equal(tree.size, checkpoint.size, name)
    t.ok(hasRoot(checkpoint, tree.root()), `${name} has the root of its entries`)
    for (const tile of [...tree.full, ...tree.partial()]) {
      t.ok(await isOnDisk(folder, tile), `${name}: tile ${tile.level}/${tile.index} is the one published`)
      counts.tiles++
    }
    counts.checkpoints++
  }
  t.ok(counts.checkpoints > 0)
}
