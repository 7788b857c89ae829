import path from 'node:path'
import t from 'tap'
import { fromDigest, hashLeaf, verifyConsistency, verifyInclusion } from '../../src/audit/merkle.ts'
import { proveConsistency, proveInclusion } from '../../src/audit/prove.ts'
import { tileHashes } from '../../src/audit/tile-hashes.ts'
import { writeTiles } from '../../src/audit/tiles.ts'
import { createTree } from '../../src/audit/tree.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

interface Vector {
  readonly name: string
  readonly wantErr: boolean
  readonly proof: readonly string[] | null
  readonly leafIdx?: number
  readonly treeSize?: number
  readonly leafHash?: string
  readonly root?: string
  readonly size1?: number
  readonly size2?: number
  readonly root1?: string
  readonly root2?: string
}

function bytes (base64: string | null | undefined): Buffer {
  return Buffer.from(base64 ?? '', 'base64')
}

function holds (vector: Vector): boolean {
  const proof = (vector.proof ?? []).map(bytes)
  return vector.size1 === undefined
    ? verifyInclusion({ index: vector.leafIdx ?? 0, size: vector.treeSize ?? 0, leaf: bytes(vector.leafHash), root: bytes(vector.root), proof })
    : verifyConsistency({ size1: vector.size1, size2: vector.size2 ?? 0, root1: bytes(vector.root1), root2: bytes(vector.root2), proof })
}

// The leaves of the reference's own tests, over which its trees are.
const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map((hex) => Buffer.from(hex, 'hex'))
let made = 0

if (vectorsFolder === undefined) {
  t.comment('merkle: skipped, no vectors folder')
} else {
  const vectors = readVectors(path.join(vectorsFolder, 'merkle/proofs.json')) as readonly Vector[]
  t.test('inclusion and consistency proofs hold, or not, as published', async (t) => {
    for (const vector of vectors) t.equal(holds(vector), !vector.wantErr, vector.name)
    t.ok(vectors.some(({ wantErr }) => !wantErr))
  })
  t.test('proofs made here over the published leaves are the published ones', async (t) => {
    const directory = t.testdir()
    const tree = createTree()
    for (const leaf of leaves) tree.append(leaf, 0, leaf.length, hashLeaf(leaf))
    await writeTiles(directory, tree.partial())
    const hashes = tileHashes(directory, leaves.length)
    const isOurs = async (size: number | undefined, root: string | undefined): Promise<boolean> =>
      size !== undefined && size > 0 && size <= leaves.length && fromDigest(await hashes(0, size)).equals(bytes(root))
    for (const vector of vectors.filter(({ wantErr }) => !wantErr)) {
      const { leafIdx = 0, treeSize = 0, size1, size2 = 0 } = vector
      if (!await isOurs(size1 === undefined ? treeSize : size2, vector.root ?? vector.root2)) continue
      const proof = size1 === undefined ? await proveInclusion(hashes, leafIdx, treeSize) : await proveConsistency(hashes, size1, size2)
      t.same(proof, (vector.proof ?? []).map(bytes), vector.name)
      made++
    }
    t.ok(made > 0)
  })
  t.teardown(() => { process.stderr.write(`merkle (transparency-dev): ${vectors.length} verified, ${made} of them also made, 0 skipped\n`) })
}
