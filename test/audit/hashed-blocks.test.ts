import { setImmediate } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { blockHasher, type BlockHasher, type HashedBlock } from '../../src/audit/hashed-blocks.ts'
import type { LineBlock } from '../../src/audit/segment-files.ts'

const block: LineBlock = { bytes: Buffer.from('\n{"action":"predict","seq":0,"status":"success","timestamp":"t"}\n'), offset: 0, torn: false }
const ended = { message: 'a thread that hashes lines has ended' }

/** A hasher, and its threads. */
async function hasherOf (t: Test, workers: number): Promise<{ readonly hasher: BlockHasher, readonly threads: readonly Worker[] }> {
  const threads: Worker[] = []
  const note = (worker: Worker): void => { threads.push(worker) }
  process.on('worker', note)
  const hasher = blockHasher(workers)
  // The process tells of them in its next tick.
  await setImmediate()
  process.off('worker', note)
  t.teardown(async () => { await hasher.close() })
  return { hasher, threads }
}

async function all (blocks: AsyncIterable<HashedBlock>, seen: HashedBlock[] = []): Promise<readonly HashedBlock[]> {
  for await (const hashed of blocks) seen.push(hashed)
  return seen
}

t.test('a thread that ended before it was asked is told, and nobody waits for it', async (t) => {
  const { hasher, threads } = await hasherOf(t, 1)
  await threads[0]?.terminate()
  await t.rejects(all(hasher.hash((async function * () { yield block })())), ended)
})

t.test('a thread that ends before it has answered is told, and what others hashed of what follows is not given', async (t) => {
  const { hasher, threads } = await hasherOf(t, 2)
  const seen: HashedBlock[] = []
  const blocks = async function * (): AsyncGenerator<LineBlock> {
    // As many as wait at two threads; the next one has the first be given.
    for (let given = 0; given < 4; given++) yield block
    await threads[0]?.terminate()
    yield block
  }
  await t.rejects(all(hasher.hash(blocks()), seen), ended)
  t.same(seen, [])
})

t.test('a block has the hashes of its lines, whoever made them', async (t) => {
  const blocks = async function * (): AsyncGenerator<LineBlock> { yield { ...block, bytes: Buffer.from(block.bytes) } }
  const [one, other] = [await hasherOf(t, 0), await hasherOf(t, 1)]
  const [here, there] = [await all(one.hasher.hash(blocks())), await all(other.hasher.hash(blocks()))]
  t.same(there, here)
  t.same([...here[0]?.lines.seqs ?? []], [0])
})
