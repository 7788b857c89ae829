// One way to a model's bytes, once, in a process of its own; prints what it took as JSON.
//   node candidate.js NAME FOLDER
import { spawnSync } from 'node:child_process'
import { createHash, createPublicKey } from 'node:crypto'
import { openSync, readFileSync, readSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { sharedMemory } from '../../src/model/memory.ts'
import { startOpenThreads } from '../../src/model/open-threads.ts'
import { openTogether } from '../../src/model/open-together.ts'
import { openModel, type OpenedModel } from '../../src/model/open-model.ts'
import { fileSource } from '../../src/model/sealed-source.ts'
import { startSession } from '../../src/model/session.ts'
import { proveLength } from '../../src/model/unseal.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { benchFiles, ctrWords, zeroSealing, type BenchFiles } from './files.ts'

/** What one process took. */
export interface Taken {
  readonly ms: number
  /** The most memory it ever had (proc(5), VmHWM). Of a program that it started, nothing is counted. */
  readonly peakBytes: number
}

const candidates = {
  'fs.readFile': async ({ weights }) => { await readFile(weights) },
  'decrypted, two threads': async ({ sealed }) => { await decrypt(sealed) },
  'opened and verified': async (files) => { await openBundle(files, files.bundle) },
  'opened and verified, shards': async (files) => { await openBundle(files, files.shards) },
  'SHA-256': async ({ weights }) => { hash(weights) },
  'openssl enc -d': async ({ ctr }) => { run('openssl', [...ctrWords, '-d', '-in', ctr, '-out', '/dev/null']) },
  'age -d': async ({ age, ageIdentity }) => { run('age', ['-d', '-i', ageIdentity, '-o', '/dev/null', age]) },
  // Into memory, as a sealed model is opened: what goes nowhere takes no pages.
  'age -d, to memory': async ({ age, ageIdentity, inMemory }) => { run('age', ['-d', '-i', ageIdentity, '-o', inMemory, age]) },
  'session of the bundle': async (files) => {
    const session = await startSession(await openBundle(files, files.bundle), { queueLimit: 0, timeoutMs: 600_000 })
    process.once('exit', () => { void session.close() })
  },
  'session of the plaintext, from memory': async ({ model, weights }) => {
    process.env['ORT_DISABLE_TELEMETRY'] = '1'
    const { InferenceSession } = await import('onnxruntime-node')
    const graph = await readFile(path.join(model, 'model.onnx'))
    await InferenceSession.create(graph, { externalData: [{ path: 'weights/0.bin', data: await readFile(weights) }], intraOpNumThreads: 1 })
  }
} as const satisfies Readonly<Record<string, (files: BenchFiles) => Promise<void>>>

/** What can be measured. */
export type CandidateName = keyof typeof candidates

async function decrypt (sealed: string): Promise<void> {
  const handle = await open(sealed)
  const threads = startOpenThreads(2)
  const proven = await proveLength(fileSource('weights', handle, (await handle.stat()).size), zeroSealing, sharedMemory)
  await openTogether(threads, [{ name: 'weights', parts: [], proven }], 'sha256', () => undefined)
  await threads.close()
  await handle.close()
}

async function openBundle ({ signingKey, wrappingKey }: BenchFiles, directory: string): Promise<OpenedModel> {
  const trust = { keys: [createPublicKey(await readFile(`${signingKey}.pub`))], authorities: [] }
  return await openModel({ directory, keys: [await keyFromFile(wrappingKey)], trust, threads: 2 })
}

function hash (file: string): void {
  const digest = createHash('sha256')
  const block = Buffer.alloc(1024 * 1024)
  const fd = openSync(file, 'r')
  for (let read = readSync(fd, block); read > 0; read = readSync(fd, block)) digest.update(block.subarray(0, read))
  digest.digest()
}

function run (program: string, words: readonly string[]): void {
  if (spawnSync(program, words).status !== 0) throw new Error(`${program} failed`)
}

const [name = '', folder = ''] = process.argv.slice(2)
const candidate = Object.entries(candidates).find(([key]) => key === name)?.[1]
if (candidate === undefined) throw new Error(`no candidate ${name}`)
const start = performance.now()
await candidate(benchFiles(folder))
const ms = performance.now() - start
const [, peakKb] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
console.log(JSON.stringify({ ms, peakBytes: Number(peakKb) * 1024 } satisfies Taken))
process.exit()
