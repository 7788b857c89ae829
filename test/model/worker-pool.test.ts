import t from 'tap'
import { guardError, type GuardError } from '../../src/errors.ts'
import { RunQueue } from '../../src/model/run-queue.ts'
import type { Tensor } from '../../src/model/tensor.ts'
import { WorkerPool, type WorkerEvent, type WorkerPoolOptions } from '../../src/model/worker-pool.ts'
import type { RunOutput, WorkerLane } from '../../src/model/worker-lane.ts'

interface HandLane extends WorkerLane {
  memoryBytes: number
  runs: number
  readonly isStopped: () => boolean
  /** Its thread ends by itself. */
  die (): void
  /** What runs in it ends. */
  end (): void
}

function handLane (): HandLane {
  let resolveEnded: (error: GuardError | null) => void = () => undefined
  let settle = { resolve: (_output: RunOutput): void => undefined, reject: (_error: Error): void => undefined }
  let isStopped = false
  const ended = new Promise<GuardError | null>((resolve) => { resolveEnded = resolve })
  return {
    memoryBytes: 10,
    runs: 0,
    ended,
    create: async () => await Promise.reject(new Error('not asked for')),
    async run () {
      this.runs++
      return await new Promise((resolve, reject) => { settle = { resolve, reject } })
    },
    async stop () {
      isStopped = true
      resolveEnded(null)
    },
    isStopped: () => isStopped,
    end () { settle.resolve({ outputs: {}, computeMs: 1 }) },
    die () {
      const error = guardError('FMG_ERR_MODEL_FAILED', { reason: 'thread-ended' })
      // The worst order: the run is told first, and the pool much later.
      settle.reject(error)
      setImmediate(() => { resolveEnded(error) })
    }
  }
}

interface Hand {
  readonly queue: RunQueue<Readonly<Record<string, Tensor>>, RunOutput>
  readonly pool: WorkerPool
  readonly lanes: HandLane[]
  readonly events: WorkerEvent[]
  readonly pauses: number[]
  /** Ends the pause that goes on. */
  readonly ring: () => void
  readonly clock: { now: number }
  /** Has the next replacements fail. */
  readonly state: { failing: Error | undefined, asked: number }
}

function byHand (more: Partial<WorkerPoolOptions> = {}): Hand {
  const { workers = 2 } = more
  const lanes = Array.from({ length: workers }, handLane)
  const [clock, state] = [{ now: 0 }, { failing: undefined as Error | undefined, asked: 0 }]
  const [events, pauses]: [WorkerEvent[], number[]] = [[], []]
  let ring = (): void => undefined
  const queue = new RunQueue<Readonly<Record<string, Tensor>>, RunOutput>([], { queueLimit: 8, timeoutMs: 60_000, after: () => () => undefined })
  const pool = new WorkerPool(queue, lanes, {
    workers,
    maxWorkerBytes: Infinity,
    maxWorkerRuns: Infinity,
    replace: async (count) => {
      state.asked++
      if (state.failing !== undefined) throw state.failing
      const fresh = Array.from({ length: count }, handLane)
      lanes.push(...fresh)
      return fresh
    },
    tell: (event) => { events.push(event) },
    after: (milliseconds, callback) => {
      pauses.push(milliseconds)
      ring = callback
      return () => { pauses.push(-1) }
    },
    now: () => clock.now,
    ...more
  })
  return { queue, pool, lanes, events, pauses, clock, state, ring: () => { ring() } }
}

async function turn (): Promise<void> {
  for (let count = 0; count < 2; count++) await new Promise(setImmediate)
}

const died = { code: 'FMG_ERR_MODEL_FAILED', reason: 'thread-ended' }

t.test('of two workers the one that dies fails its own run alone, and another takes its place at once', async (t) => {
  const { queue, lanes, events, pauses, pool } = byHand()
  const [first, second, third] = ['a', 'b', 'c'].map(async () => await queue.run({}))
  lanes[0]?.die()
  if (first !== undefined) await t.rejects(first, died)
  await turn()
  t.match(events, [{ kind: 'lost', error: died }, { kind: 'replaced', workers: 1 }])
  t.same(pauses, [])
  t.equal(lanes.length, 3)
  t.equal(lanes[2]?.runs, 1, 'what waited runs in the new one')
  lanes[1]?.end()
  lanes[2]?.end()
  await Promise.all([second, third])
  t.same(pool.memoryBytes, [10, 10])
})

t.test('one replacement comes after the other', async (t) => {
  const asked: number[] = []
  let give: (lanes: readonly WorkerLane[]) => void = () => undefined
  const { lanes, pauses, ring } = byHand({
    replace: async (count) => {
      asked.push(count)
      return await new Promise((resolve) => { give = resolve })
    }
  })
  lanes[0]?.die()
  await turn()
  lanes[1]?.die()
  await turn()
  t.same(asked, [1])
  give([handLane()])
  await turn()
  t.same([asked, pauses], [[1], [1000]])
  ring()
  await turn()
  t.same(asked, [1, 1])
})

t.test('the last that dies fails those that wait with 503, and nothing is given to a thread that has ended', async (t) => {
  const { queue, lanes } = byHand({ workers: 1 })
  const running = queue.run({})
  const waiting = queue.run({})
  lanes[0]?.die()
  await t.rejects(waiting, { code: 'FMG_ERR_MODEL_UNAVAILABLE', statusCode: 503 })
  await t.rejects(running, died)
  t.equal(lanes[0]?.runs, 1)
})

t.test('what dies again and again is replaced ever more rarely, until it has been calm', async (t) => {
  const { lanes, pauses, ring, clock, queue } = byHand({ workers: 1 })
  for (let count = 0; count < 9; count++) {
    lanes.at(-1)?.die()
    await turn()
    ring()
    await turn()
  }
  t.same(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  t.equal(queue.room, 9)
  clock.now = 300_000
  lanes.at(-1)?.die()
  await turn()
  t.equal(pauses.length, 9, 'five minutes are not more than five minutes')
  ring()
  await turn()
  clock.now = 600_001
  lanes.at(-1)?.die()
  await turn()
  t.equal(pauses.length, 9)
  t.equal(queue.room, 9, 'at once')
})

t.test('a model that cannot be opened again is tried anew, and told', async (t) => {
  const { lanes, pauses, ring, clock, events, state, queue } = byHand({ workers: 1 })
  clock.now = 1_000_000
  state.failing = new Error('the bundle is gone')
  lanes[0]?.die()
  await turn()
  t.equal(state.asked, 1)
  ring()
  await turn()
  t.equal(state.asked, 2)
  t.match(events, [{ kind: 'lost' }, { kind: 'not-replaced', error: { message: 'the bundle is gone' }, retryMs: 1000 }, { kind: 'not-replaced', retryMs: 2000 }])
  state.failing = undefined
  ring()
  await turn()
  t.same(pauses, [1000, 2000])
  t.match(events.at(-1), { kind: 'replaced' })
  t.equal(queue.room, 9)
})

t.test('long after the last loss a model that cannot be opened is not tried without a pause', async (t) => {
  const { lanes, pauses, clock, state, ring } = byHand({ workers: 1 })
  lanes[0]?.die()
  await turn()
  clock.now = 1_000_000
  state.failing = new Error('gone')
  lanes[1]?.die()
  await turn()
  ring()
  await turn()
  t.same(pauses, [1000, 2000])
  t.equal(state.asked, 3)
})

t.test('a worker above its bound of memory or runs serves on until there is another, then ends when its run has', async (t) => {
  for (const bounds of [{ maxWorkerBytes: 100 }, { maxWorkerRuns: 2 }]) {
    const { queue, lanes, events, state } = byHand({ workers: 1, ...bounds })
    const [old] = lanes
    if (old === undefined) throw new Error('no worker')
    const run = async (): Promise<void> => {
      const running = queue.run({})
      old.end()
      await running
    }
    await run()
    t.same(events, [], 'within its bounds')
    old.memoryBytes = 100
    state.failing = new Error('not now')
    await run()
    if ('maxWorkerBytes' in bounds) {
      t.same(events, [], 'at its bound')
      old.memoryBytes = 101
      await run()
    }
    await turn()
    t.match(events, [{ kind: 'worn', memoryBytes: old.memoryBytes, runs: old.runs }, { kind: 'not-replaced' }])
    t.equal(queue.room, 9)
    await run()
    t.equal(events.length, 2, 'told once')
    t.notOk(old.isStopped())
  }
})

/** A pool of one worker that is worn after a run, and whose next comes when it is given. */
function worn (): Hand & { readonly give: () => HandLane } {
  let give: (lanes: readonly WorkerLane[]) => void = () => undefined
  const hand = byHand({ workers: 1, maxWorkerRuns: 1, replace: async () => await new Promise((resolve) => { give = resolve }) })
  return {
    ...hand,
    give () {
      const lane = handLane()
      give([lane])
      return lane
    }
  }
}

t.test('what waits for a worn worker is not kept waiting for the next one', async (t) => {
  const { queue, lanes: [old], pool, give } = worn()
  const [first, second] = [queue.run({}), queue.run({})]
  old?.end()
  await first
  await turn()
  t.equal(old?.runs, 2)
  const next = give()
  await turn()
  t.equal(pool.memoryBytes.length, 1)
  t.notOk(old?.isStopped(), 'it has a run')
  t.equal(queue.room, 9)
  old?.end()
  await second
  await turn()
  t.ok(old?.isStopped())
  t.equal(next.runs, 0)
  t.equal(queue.room, 9)
})

t.test('a worker that dies of its last run is lost, not worn too', async (t) => {
  const { queue, lanes, events } = byHand({ workers: 1, maxWorkerRuns: 1 })
  const run = queue.run({})
  lanes[0]?.die()
  await t.rejects(run, died)
  await turn()
  t.same(events.map(({ kind }) => kind), ['lost', 'replaced'])
})

t.test('without a way to open the model again none is replaced, nor worn', async (t) => {
  const { queue, lanes, events, pool } = byHand({ replace: undefined, maxWorkerRuns: 1 })
  const run = queue.run({})
  lanes[0]?.end()
  await run
  lanes[0]?.die()
  await turn()
  t.same(events.map(({ kind }) => kind), ['lost'])
  lanes[1]?.die()
  t.match(await pool.closed, died)
})

t.test('closing replaces nobody any more, and ends those that were just started', async (t) => {
  let give: (lanes: readonly WorkerLane[]) => void = () => undefined
  const fresh = handLane()
  const { lanes, pool, pauses, events } = byHand({ workers: 1, replace: async () => await new Promise((resolve) => { give = resolve }) })
  lanes[0]?.die()
  await turn()
  const resting = pool.rest()
  give([fresh])
  await resting
  await pool.stop()
  t.ok(fresh.isStopped())
  t.equal(await pool.closed, null)

  const pausing = byHand({ workers: 1 })
  pausing.lanes[0]?.die()
  await turn()
  pausing.lanes[1]?.die()
  await turn()
  t.same(pausing.pauses, [1000])
  await pausing.pool.rest()
  t.same(pausing.pauses, [1000, -1], 'nobody waits for the clock')
  t.equal(pausing.state.asked, 1)

  const closing = byHand({ maxWorkerRuns: 1 })
  await closing.pool.rest()
  closing.lanes[0]?.die()
  await turn()
  const run = closing.queue.run({})
  closing.lanes[1]?.end()
  await run
  await turn()
  t.equal(closing.state.asked, 0)
  t.same(closing.events.filter(({ kind }) => kind === 'lost'), [])
  t.same(pauses, [])
  t.match(events, [{ kind: 'lost' }, { kind: 'replaced' }])
})

t.test('a worker on its way out is waited for', async (t) => {
  const { queue, lanes: [old], pool, give } = worn()
  const runs = [queue.run({}), queue.run({})]
  old?.end()
  await runs[0]
  await turn()
  const next = give()
  await turn()
  let hasStopped = false
  const closing = Promise.all([pool.rest(), queue.drain()])
  const stopping = pool.stop().then(() => { hasStopped = true })
  await turn()
  t.notOk(hasStopped)
  old?.end()
  await Promise.all([closing, stopping])
  t.ok(old?.isStopped() === true && next.isStopped())
})
