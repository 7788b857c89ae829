import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import { openBlocks, type OpenedShare, type OpenJob } from '../../src/model/open-blocks.ts'
import { openTogether, type LargeFile } from '../../src/model/open-together.ts'
import type { ModelProgress } from '../../src/model/progress.ts'
import { partsOf, SealedBytes, threadsHere } from '../helpers/open-here.ts'

const chunk = 16_384
const block = 64 * chunk
const quiet = (): void => undefined

function isPlain ({ proven }: LargeFile, plain: Uint8Array): boolean {
  return Buffer.from(plain).equals(proven.plain)
}

t.test('what was sealed opens and is hashed at every size around a chunk and a block', async (t) => {
  for (const size of [0, 1, chunk - 1, chunk, chunk + 1, block - 1, block, block + 1, 2 * block + 5 * chunk + 7]) {
    const sealed = new SealedBytes()
    const plain = randomBytes(size)
    const file = await sealed.add('w', plain, partsOf(plain))
    await openTogether(threadsHere(sealed.read), [file], 'sha256', quiet)
    t.ok(isPlain(file, plain), `${size} bytes`)
  }
})

t.test('shards of any size are hashed, whichever thread comes to them, however few bytes a read gives', async (t) => {
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3 * block }), fc.integer({ min: chunk / 2, max: 2 * block }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 5000, max: block }), async (size, shardBytes, threads, step) => {
    const sealed = new SealedBytes()
    const plain = Buffer.alloc(size, randomBytes(997))
    const file = await sealed.add('w', plain, partsOf(plain, shardBytes, 'blake2b512'))
    await openTogether(threadsHere((fd, target, offset) => sealed.read(fd, target.subarray(0, step), offset), threads), [file], 'blake2b512', quiet)
    return isPlain(file, plain)
  }), { numRuns: 25 })
})

t.test('several files are opened as one work, and each says how far it is', async (t) => {
  const sealed = new SealedBytes()
  const plains = [randomBytes(block + 1), Buffer.alloc(0), randomBytes(2 * block)]
  const files = await Promise.all(plains.map(async (plain, index) => await sealed.add(`w${index}`, plain, partsOf(plain, index === 2 ? block : undefined))))
  const told: ModelProgress[] = []
  await openTogether(threadsHere(sealed.read, 2), files, 'sha256', (progress) => { told.push(progress) })
  for (const [index, file] of files.entries()) t.ok(isPlain(file, plains[index] ?? Buffer.alloc(1)))
  for (const [index, { length }] of plains.entries()) {
    const own = told.filter(({ name }) => name === `w${index}`)
    t.ok(own.every(({ bytes, totalBytes }, at) => totalBytes === length && bytes <= length && bytes > (own[at - 1]?.bytes ?? -1)))
    t.equal(own.at(-1)?.bytes, length)
  }
  t.ok(told.some(({ name, bytes, totalBytes }) => name === 'w2' && bytes === block && totalBytes === 2 * block))
})

t.test('a file whose digest is not the signed one is refused, whichever part it is', async (t) => {
  const plain = randomBytes(2 * block + 100)
  const other = partsOf(randomBytes(2 * block + 100), block)
  for (const wrong of [0, 1, 2]) {
    const sealed = new SealedBytes()
    const parts = partsOf(plain, block).map((part, index) => index === wrong ? other[index] ?? part : part)
    const file = await sealed.add('w', plain, parts)
    await t.rejects(openTogether(threadsHere(sealed.read, 2), [file], 'sha256', quiet), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest', message: /w is not the file/ })
  }
  const sealed = new SealedBytes()
  const file = await sealed.add('w', plain, partsOf(plain))
  await openTogether(threadsHere(sealed.read), [file], 'sha256', quiet)
  t.ok(isPlain(file, plain))
})

t.test('a changed chunk is named, the first of several', async (t) => {
  const flip = (...chunks: readonly number[]) => (bytes: Buffer): Buffer => {
    for (const index of chunks) bytes.writeUInt8(bytes.readUInt8(56 + index * (chunk + 16) + 9) ^ 1, 56 + index * (chunk + 16) + 9)
    return bytes
  }
  const plain = randomBytes(3 * block)
  for (const index of [0, 1, 63, 64, 65, 127]) {
    const sealed = new SealedBytes()
    const files = [await sealed.add('a', plain, partsOf(plain)), await sealed.add('b', plain, partsOf(plain), flip(index, 191))]
    const jobs: OpenJob[] = []
    await t.rejects(openTogether(threadsHere(sealed.read, 2, (job) => { jobs.push(job) }), files, 'sha256', quiet), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-chunk', message: new RegExp(`b\\.sealed was changed in chunk ${index}$`) })
    // Neither open, nor still taken: who comes to it just now would wait for ever.
    t.equal(jobs[0]?.blocks[4 + Math.floor(index / 64)], 3)
  }
  const sealed = new SealedBytes()
  const file = await sealed.add('a', plain, partsOf(plain), flip(10, 70))
  // Two threads find one each, the second before the first.
  const threads = {
    ...threadsHere(sealed.read),
    run: async (job: OpenJob) => await Promise.resolve([1, 0].map((first) => {
      Atomics.store(job.control, 1, 0)
      Atomics.store(job.control, 0, 1)
      Atomics.store(job.blocks, 0, first)
      return openBlocks(job, sealed.read, quiet)
    }))
  }
  await t.rejects(openTogether(threads, [file], 'sha256', quiet), { message: /in chunk 10$/ })
})

t.test('a file that becomes shorter, or cannot be read any more, is refused', async (t) => {
  const plain = randomBytes(2 * block)
  const sealed = new SealedBytes()
  const cut = await sealed.add('w', plain, partsOf(plain), (bytes) => bytes.subarray(0, bytes.length - block))
  await t.rejects(openTogether(threadsHere(sealed.read), [cut], 'sha256', quiet), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'sealed-length', message: /w\.sealed became shorter/ })
  const file = await sealed.add('w', plain, partsOf(plain))
  const failing = threadsHere(() => { throw new Error('EIO: i/o error') })
  await t.rejects(openTogether(failing, [file], 'sha256', quiet), { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unreadable-file', cause: { message: /EIO/ } })
})

t.test('a fault in one thread stops the others', async (t) => {
  const plain = randomBytes(2 * block)
  const sealed = new SealedBytes()
  const file = await sealed.add('w', plain, partsOf(plain))
  let reads = 0
  const read = (fd: number, target: Uint8Array, offset: number): number => {
    reads++
    return sealed.read(fd, target, offset)
  }
  const stopped = threadsHere(read, 2, ({ control }) => { Atomics.store(control, 1, 1) })
  await t.rejects(openTogether(stopped, [file], 'sha256', quiet), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-confused' })
  t.equal(reads, 0)
})

t.test('threads that leave something undone release nothing', async (t) => {
  const plain = randomBytes(2 * block)
  const sealed = new SealedBytes()
  const file = await sealed.add('w', plain, partsOf(plain, block))
  const undone = threadsHere(sealed.read, 1, ({ blocks }) => { Atomics.store(blocks, 2, 1) })
  const skipped = { ...undone, run: async (job: OpenJob) => await Promise.resolve([{ digests: [], fault: undefined }]) }
  await t.rejects(openTogether(skipped, [file], 'sha256', quiet), { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-confused' })
  const unhashed = { ...undone, run: async (job: OpenJob) => await Promise.resolve([{ ...openBlocks(job, sealed.read, quiet), digests: [] }]) }
  await t.rejects(openTogether(unhashed, [file], 'sha256', quiet), { code: 'FMG_ERR_MODEL_TAMPERED', reason: 'digest' })
})

t.test('who comes to a block that another thread is at opens others, and then waits for it', async (t) => {
  const plain = randomBytes(3 * block)
  const sealed = new SealedBytes()
  const file = await sealed.add('w', plain, partsOf(plain))
  // The other thread has the first block. It wakes this one too early, then says that the block is open.
  const other = `
    const { workerData: blocks } = require('node:worker_threads')
    const wake = () => { while (Atomics.notify(blocks, 0) === 0); }
    while (Atomics.load(blocks, 3) !== 2);
    wake()
    Atomics.store(blocks, 0, 2)
    wake()`
  const run = async (job: OpenJob): Promise<readonly OpenedShare[]> => {
    Atomics.store(job.blocks, 0, 1)
    file.proven.plain.set(plain.subarray(0, block))
    const worker = new Worker(other, { eval: true, workerData: job.blocks })
    t.teardown(async () => { await worker.terminate() })
    await once(worker, 'online')
    return [openBlocks(job, sealed.read, quiet)]
  }
  await openTogether({ ...threadsHere(sealed.read), run }, [file], 'sha256', quiet)
  t.ok(isPlain(file, plain))
})

t.test('the keys are zero afterwards, whatever comes of it', async (t) => {
  for (const digest of [undefined, 'ff']) {
    const plain = randomBytes(100)
    const sealed = new SealedBytes()
    const file = await sealed.add('w', plain, digest === undefined ? partsOf(plain) : [{ start: 0, digest }])
    const seen: Uint8Array[] = []
    const threads = threadsHere(sealed.read, 1, ({ files }) => {
      for (const { keys } of files) {
        seen.push(keys.key, keys.baseNonce)
        t.ok(keys.key.some((byte) => byte !== 0))
      }
    })
    await openTogether(threads, [file], 'sha256', quiet).catch((error: unknown) => { t.match(error, { reason: 'digest' }) })
    t.ok(seen.length === 2 && seen.every((bytes) => bytes.every((byte) => byte === 0)))
  }
})
