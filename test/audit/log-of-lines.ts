import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { signCheckpoint } from '../../src/audit/checkpoint.ts'
import { hashLeaf, toDigest } from '../../src/audit/merkle.ts'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { writeTiles } from '../../src/audit/tiles.ts'
import { createTree } from '../../src/audit/tree.ts'
import { origin, signer } from './log-fixture.ts'
import { leafHash } from './merkle-by-the-book.ts'

/** Publishes a log of one line, whatever it is, and proves it. */
export async function publishing (directory: string, text: string): Promise<string> {
  mkdirSync(directory, { recursive: true })
  const line = Buffer.from(text)
  const tree = createTree()
  tree.append(line, 0, line.length, hashLeaf(line))
  await writeTiles(directory, tree.partial())
  writeFileSync(path.join(directory, 'checkpoint'), (await signCheckpoint(origin, 1, toDigest(leafHash(line)), signer)).note)
  return (await proveRecord({ directory, seq: 0 })).proof
}
