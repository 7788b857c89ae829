import path from 'node:path'
import t from 'tap'
import { verifyConsistency, verifyInclusion } from '../../src/audit/merkle.ts'
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

if (vectorsFolder === undefined) {
  t.comment('merkle: skipped, no vectors folder')
} else {
  const vectors = readVectors(path.join(vectorsFolder, 'merkle/proofs.json')) as readonly Vector[]
  t.test('inclusion and consistency proofs hold, or not, as published', async (t) => {
    for (const vector of vectors) t.equal(holds(vector), !vector.wantErr, vector.name)
    t.ok(vectors.some(({ wantErr }) => !wantErr))
  })
  t.teardown(() => { process.stderr.write(`merkle (transparency-dev): ${vectors.length} run, 0 skipped\n`) })
}
