import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { seal } from '../../src/model/cobblestone.ts'
import { readBlocks } from '../../src/model/digest.ts'
import { withFile } from '../../src/model/folder.ts'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { createSigningKey, createWrappingKey } from '../../src/secrets/create-keys.ts'
import { keyFromFile, signerFromFile } from '../../src/secrets/key-file.ts'
import { writeLargeModel } from '../../test/helpers/large-model.ts'

/** How many bytes have a digest of their own where the model is signed in shards. */
export const shardBytes = 100_000_000

/** One model, as every candidate takes it. */
export interface BenchFiles {
  /** Folder of the plaintext model. */
  readonly model: string
  /** The file that is all but a few kilobytes of the model. */
  readonly weights: string
  /** Bundles of the model, signed in whole files and in shards. */
  readonly bundle: string
  readonly shards: string
  /** That file as Cobblestone-256 alone, under a key that is all zeros. */
  readonly sealed: string
  readonly signingKey: string
  readonly wrappingKey: string
  /** That file for `age`, and the identity that opens it. */
  readonly age: string
  readonly ageIdentity: string
  /** A file that is written to memory, where there is a file system that does. */
  readonly inMemory: string
  /** That file as `openssl enc -aes-256-ctr` leaves it. */
  readonly ctr: string
}

const memoryFolder = '/dev/shm'

/** The paths below this folder. */
export function benchFiles (folder: string): BenchFiles {
  const at = (...names: readonly string[]): string => path.join(folder, ...names)
  return {
    model: at('model'),
    weights: at('model', 'weights', '0.bin'),
    bundle: at('bundle'),
    shards: at('shards'),
    sealed: at('weights.sealed'),
    signingKey: at('signing-key.pem'),
    wrappingKey: at('wrapping-key.json'),
    age: at('weights.age'),
    ageIdentity: at('age-identity'),
    inMemory: path.join(existsSync(memoryFolder) ? memoryFolder : folder, `${path.basename(folder)}.plain`),
    ctr: at('weights.ctr')
  }
}

/** A key of 32 zeros and no context: what is measured does not depend on them. */
export const zeroSealing = { key: Buffer.alloc(32), context: Buffer.alloc(0) }

/** OpenSSL's words on its own cipher, key and all. */
export const ctrWords = ['enc', '-aes-256-ctr', '-K', '0'.repeat(64), '-iv', '0'.repeat(32)]

/** Writes everything that is measured. */
export async function writeBenchFiles (files: BenchFiles, megabytes: number): Promise<void> {
  await createSigningKey(files.signingKey, 'model')
  await createWrappingKey(files.wrappingKey)
  await writeLargeModel(files.model, 1, megabytes * 1024 * 1024)
  await signAndSeal(files, files.bundle)
  await signAndSeal(files, files.shards, shardBytes)
  await withFile(path.dirname(files.weights), path.basename(files.weights), async ({ handle }) => { await writeFile(files.sealed, seal(readBlocks(handle), zeroSealing)) })
  run('openssl', [...ctrWords, '-e', '-in', files.weights, '-out', files.ctr])
  if (hasAge()) {
    run('age-keygen', ['-o', files.ageIdentity])
    const [, recipient = ''] = /public key: (\S+)/.exec(await readFile(files.ageIdentity, 'utf8')) ?? []
    run('age', ['-r', recipient, '-o', files.age, files.weights])
  }
}

/** Whether `age` is there to be measured. */
export function hasAge (): boolean {
  return spawnSync('age', ['--version']).status === 0
}

async function signAndSeal (files: BenchFiles, destination: string, shards?: number): Promise<void> {
  await signModel({ directory: files.model, signer: await signerFromFile(files.signingKey), shardBytes: shards })
  await sealModel({ source: files.model, destination, recipients: [await keyFromFile(files.wrappingKey)] })
  await rm(path.join(files.model, 'model.sig'))
}

function run (program: string, words: readonly string[]): void {
  const { status, stderr } = spawnSync(program, words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} failed: ${stderr}`)
}
