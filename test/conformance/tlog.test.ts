import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { hasRoot, openCheckpoint } from '../../src/audit/checkpoint.ts'
import { hashLeaf } from '../../src/audit/merkle.ts'
import { formatVerifierKey, parseVerifierKey } from '../../src/audit/note.ts'
import { isOnDisk, parseBundle, readTile, tileWidth } from '../../src/audit/tiles.ts'
import { createTree } from '../../src/audit/tree.ts'
import { vectorsFolder } from './vectors.ts'

if (vectorsFolder === undefined) {
  t.comment('tlog: skipped, no vectors folder')
} else {
  const folder = path.join(vectorsFolder, 'tlog/tessera')
  const counts = { checkpoints: 0, tiles: 0 }
  t.test('a published log of tiles has the roots that its checkpoints sign', async (t) => { await reproduce(t, folder, counts) })
  t.teardown(() => { process.stderr.write(`tlog-tiles (tessera): ${counts.checkpoints} checkpoints and ${counts.tiles} tiles run, 0 skipped\n`) })
}

async function reproduce (t: Test, folder: string, counts: { checkpoints: number, tiles: number }): Promise<void> {
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
