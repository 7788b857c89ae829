import { Worker } from 'node:worker_threads'
import { hashLines, type LineHashes } from './line-hashes.ts'
import type { LineBlock } from './segment-files.ts'

/** A block of lines with their hashes; of a torn one, none. */
export interface HashedBlock extends LineBlock {
  readonly lines: LineHashes
}

/** Hashes the lines of blocks, in this thread or in others. */
export interface BlockHasher {
  /** The same blocks in the same order. */
  hash (blocks: AsyncIterable<LineBlock>): AsyncGenerator<HashedBlock>
  close (): Promise<void>
}

const noLines: LineHashes = { ends: new Uint32Array(), seqs: new Float64Array(), leaves: '' }

/** @param workers threads that share the work; 0 for this one alone. */
export function blockHasher (workers: number): BlockHasher {
  const threads = Array.from({ length: workers }, hashingThread)
  return {
    hash: workers === 0 ? hashHere : (blocks) => hashAmong(threads, blocks),
    close: async () => { await Promise.all(threads.map(async (thread) => { await thread.close() })) }
  }
}

async function * hashHere (blocks: AsyncIterable<LineBlock>): AsyncGenerator<HashedBlock> {
  for await (const block of blocks) yield { ...block, lines: block.torn ? noLines : hashLines(block.bytes) }
}

interface HashingThread {
  /** The block's bytes move to the thread, and come back with its answer. */
  hash (block: KeptBlock): Promise<HashedKept>
  close (): Promise<void>
}

interface KeptBlock extends LineBlock {
  readonly bytes: Buffer<ArrayBuffer>
}

type HashedKept = KeptBlock & HashedBlock

/** Blocks that wait at a thread, so that it never does. */
const blocksAhead = 2

async function * hashAmong (threads: readonly HashingThread[], blocks: AsyncIterable<LineBlock>): AsyncGenerator<HashedBlock> {
  const underWay: Promise<HashedKept>[] = []
  /** Memory of blocks that nobody looks at any more: fresh memory would be handed over by the system page by page. */
  const spare: Buffer<ArrayBuffer>[] = []
  let given = 0
  try {
    for await (const block of blocks) {
      const thread = threads[given++ % threads.length]
      const kept = copyOf(block)
      const hashing = thread === undefined || kept.torn ? Promise.resolve({ ...kept, lines: noLines }) : thread.hash(kept)
      // Of several that fail only the first is told.
      hashing.catch(() => undefined)
      underWay.push(hashing)
      if (underWay.length > threads.length * blocksAhead) yield * finished(1)
    }
    yield * finished()
  } catch (error) {
    // What comes before it is told first.
    yield * finished()
    throw error
  } finally {
    await Promise.allSettled(underWay)
  }

  /** Its bytes are written over by the next block. */
  function copyOf (block: LineBlock): KeptBlock {
    const room = spare.pop() ?? Buffer.from(new ArrayBuffer(block.bytes.buffer.byteLength))
    block.bytes.copy(room)
    return { ...block, bytes: room.subarray(0, block.bytes.length) }
  }

  async function * finished (count = underWay.length): AsyncGenerator<HashedKept> {
    for (const hashing of underWay.splice(0, count)) {
      const block = await hashing.catch(giveUp)
      yield block
      spare.push(Buffer.from(block.bytes.buffer))
    }
  }

  /** What comes after a block that could not be hashed would seem to follow a gap. */
  function giveUp (error: unknown): never {
    underWay.length = 0
    throw error
  }
}

interface HashedBytes {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly lines: LineHashes
}

function hashingThread (): HashingThread {
  const worker = new Worker(new URL('./hash-worker.js', import.meta.url), { env: {}, execArgv: [], name: 'audit' })
  // It answers in the order in which it was asked.
  const asked: { resolve: (answer: HashedBytes) => void, reject: (error: unknown) => void }[] = []
  let failure: Error | undefined
  const fail = (error: Error): void => {
    failure ??= error
    for (const { reject } of asked.splice(0)) reject(failure)
  }
  const exited = new Promise<void>((resolve) => {
    worker.once('exit', () => {
      fail(new Error('a thread that hashes lines has ended'))
      resolve()
    })
  })
  worker.on('message', (answer: HashedBytes) => { asked.shift()?.resolve(answer) })
  worker.on('error', fail)
  return {
    async hash (block) {
      if (failure !== undefined) throw failure
      const answer = await new Promise<HashedBytes>((resolve, reject) => {
        asked.push({ resolve, reject })
        worker.postMessage(block.bytes, [block.bytes.buffer])
      })
      const { buffer, byteOffset, byteLength } = answer.bytes
      return { ...block, bytes: Buffer.from(buffer, byteOffset, byteLength), lines: answer.lines }
    },
    async close () {
      await worker.terminate()
      await exited
    }
  }
}
