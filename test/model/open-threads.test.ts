import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { open, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { seal } from '../../src/model/cobblestone.ts'
import { sharedMemory } from '../../src/model/memory.ts'
import { openWorkerOptions, startOpenThreads } from '../../src/model/open-threads.ts'
import { openTogether, type LargeFile } from '../../src/model/open-together.ts'
import type { ModelProgress } from '../../src/model/progress.ts'
import { fileSource } from '../../src/model/sealed-source.ts'
import { proveLength } from '../../src/model/unseal.ts'
import { partsOf } from '../helpers/open-here.ts'

const sealing = { key: randomBytes(32), context: Buffer.from('context') }
const mebibyte = 1024 * 1024

/** A sealed file on the disk, open until the test ends. */
async function sealedFile (t: Test, plain: Uint8Array, shardBytes?: number): Promise<LargeFile> {
  const file = path.join(t.testdir(), 'w.sealed')
  await writeFile(file, seal([plain], sealing))
  const handle = await open(file)
  t.teardown(async () => { await handle.close() })
  const proven = await proveLength(fileSource('w.sealed', handle, (await handle.stat()).size), sealing, sharedMemory)
  return { name: 'w', parts: partsOf(plain, shardBytes), proven }
}

t.test('threads open a file together, again and again, and say how far they are', async (t) => {
  const threads = startOpenThreads(3)
  t.teardown(async () => { await threads.close() })
  for (const shardBytes of [undefined, 5_000_000]) {
    const plain = randomBytes(40 * mebibyte + 5)
    const file = await sealedFile(t, plain, shardBytes)
    const told: ModelProgress[] = []
    await openTogether(threads, [file], 'sha256', (progress) => { told.push(progress) })
    t.ok(plain.equals(file.proven.plain))
    t.match(told.at(-1), { name: 'w', bytes: plain.length, totalBytes: plain.length })
  }
})

t.test('a changed byte is found by threads too', async (t) => {
  const threads = startOpenThreads(2)
  t.teardown(async () => { await threads.close() })
  const plain = randomBytes(40 * mebibyte)
  const file = await sealedFile(t, plain)
  const handle = await open(path.join(t.testdirName, 'w.sealed'), 'r+')
  await handle.write(Buffer.alloc(16), 0, 16, 56 + 1000 * 16_400)
  await handle.close()
  await t.rejects(openTogether(threads, [file], 'sha256', () => undefined), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk', message: /chunk 1000$/ })
})

t.test('the event loop runs on meanwhile', async (t) => {
  const threads = startOpenThreads(2)
  t.teardown(async () => { await threads.close() })
  const file = await sealedFile(t, Buffer.alloc(48 * mebibyte, 'model'))
  let turns = 0
  let isRunning = true
  const turn = (): void => {
    turns++
    if (isRunning) setImmediate(turn)
  }
  setImmediate(turn)
  await openTogether(threads, [file], 'sha256', () => undefined)
  isRunning = false
  t.ok(turns > 48, `${turns} turns`)
})

t.test('where one thread ends, all are ended before anything else is done', async (t) => {
  // It takes the first block, and dies of it: the other would wait for ever.
  const dying = `
    require('node:worker_threads').parentPort.on('message', ({ blocks, control }) => {
      Atomics.store(blocks, 0, 1)
      throw new Error('out of order')
    })`
  const spawned: Worker[] = []
  const threads = startOpenThreads(2, () => {
    const worker = spawned.length === 0 ? new Worker(dying, { ...openWorkerOptions, eval: true }) : new Worker(new URL('../../src/model/open-worker.js', import.meta.url), openWorkerOptions)
    spawned.push(worker)
    return worker
  })
  const file = await sealedFile(t, Buffer.alloc(2 * mebibyte))
  await t.rejects(openTogether(threads, [file], 'sha256', () => undefined), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended', cause: { message: 'out of order' } })
  t.same(spawned.map(({ threadId }) => threadId), [-1, -1])
  await t.rejects(openTogether(threads, [file], 'sha256', () => undefined), { code: 'FMG_ERR_MODEL_FAILED' }, 'and they stay so')
})

t.test('threads that nothing was asked of end too', async (t) => {
  await startOpenThreads(2).close()
  t.pass()
})

t.test('a thread that opens files sees nothing of the environment', async (t) => {
  const worker = new Worker("require('node:worker_threads').parentPort.postMessage([process.env, process.execArgv])", { ...openWorkerOptions, eval: true })
  t.same(await once(worker, 'message'), [[{}, []]])
})

t.test('what is asked of a thread, and its word that it goes on, hold nothing of the bytes', async (t) => {
  const sent: { readonly buffer: ArrayBufferLike }[] = []
  const worker = Object.assign(new EventEmitter(), {
    postMessage: ({ files, blocks, control }: { files: readonly { plain: Uint8Array, keys: { key: Uint8Array, baseNonce: Uint8Array } }[], blocks: Int32Array, control: Int32Array }) => {
      sent.push(blocks, control, ...files.flatMap(({ plain, keys }) => [plain, keys.key, keys.baseNonce]))
      worker.emit('message', 'progress')
      worker.emit('message', { digests: [], fault: undefined })
    },
    terminate: async () => await Promise.resolve(0)
  })
  const file = await sealedFile(t, Buffer.alloc(100))
  const threads = startOpenThreads(1, () => worker as unknown as Worker)
  const told: ModelProgress[] = []
  await t.rejects(openTogether(threads, [file], 'sha256', (progress) => { told.push(progress) }), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-confused' })
  await threads.close()
  t.equal(sent.length, 5)
  t.ok(sent.every(({ buffer }) => buffer instanceof SharedArrayBuffer), 'a message would be a copy that nobody zeroes')
  t.same(told, [{ name: 'w', bytes: 0, totalBytes: 100 }])
})
