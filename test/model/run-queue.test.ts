import { getEventListeners } from 'node:events'
import t from 'tap'
import type { Grouping, Lane } from '../../src/model/grouping.ts'
import { RunQueue, type EndedRun } from '../../src/model/run-queue.ts'

/** A lane whose runs end when they are told to. */
function handLane (): Lane<string, string> & { readonly started: string[], end: (output?: string) => void, fail: (error: Error) => void } {
  const started: string[] = []
  let settle = { resolve: (_output: string): void => undefined, reject: (_error: Error): void => undefined }
  return {
    started,
    run: async (input) => {
      started.push(input)
      return await new Promise<string>((resolve, reject) => { settle = { resolve, reject } })
    },
    end: (output = 'done') => { settle.resolve(output) },
    fail: (error) => { settle.reject(error) }
  }
}

/** A clock that stands still until it is told to ring. */
function handClock (): { after: (milliseconds: number, callback: () => void) => () => void, ring: () => void, readonly set: Set<() => void> } {
  const set = new Set<() => void>()
  return {
    set,
    after: (_milliseconds, callback) => {
      set.add(callback)
      return () => { set.delete(callback) }
    },
    ring: () => { for (const callback of [...set]) callback() }
  }
}

const gone = { code: 'FMG_ERR_MODEL_UNAVAILABLE', statusCode: 503, reason: 'no-worker', headers: { 'retry-after': '1' } }
const busy = { code: 'FMG_ERR_MODEL_BUSY', headers: { 'retry-after': '1' } }

async function turn (): Promise<void> {
  await new Promise(setImmediate)
}

t.test('runs start in the order they came, one a lane', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 2, timeoutMs: 1000 })
  const runs = ['a', 'b', 'c'].map(async (input) => await queue.run(input))
  t.same(lane.started, ['a'])
  t.equal(queue.room, 0)
  for (const expected of [['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c']]) {
    lane.end()
    await turn()
    t.same(lane.started, expected)
  }
  t.same(await Promise.all(runs), ['done', 'done', 'done'])
  t.equal(queue.room, 3)
})

t.test('it tells how long the run that waits longest has waited', async (t) => {
  const lane = handLane()
  const clock = { now: 1000 }
  const queue = new RunQueue([lane], { queueLimit: 2, timeoutMs: 1000, now: () => clock.now })
  const runs = [queue.run('runs')]
  clock.now += 30
  t.equal(queue.waitMs, 0)
  for (const input of ['waits', 'waits too']) {
    runs.push(queue.run(input))
    clock.now += 20
  }
  t.equal(queue.waitMs, 40)
  lane.end()
  await turn()
  t.equal(queue.waitMs, 20)
  lane.end()
  await turn()
  t.equal(queue.waitMs, 0)
  lane.end()
  await Promise.all(runs)
})

t.test('it tells how long a run takes, the last ones counting most, failed ones too', async (t) => {
  const lane = handLane()
  const clock = { now: 1000 }
  const queue = new RunQueue([lane], { queueLimit: 0, timeoutMs: 1000, now: () => clock.now })
  t.equal(queue.runMs, 0)
  const take = async (milliseconds: number, end: () => void): Promise<void> => {
    const run = queue.run('a').catch(() => 'failed')
    clock.now += milliseconds
    end()
    await run
  }
  await take(100, () => { lane.end() })
  t.equal(queue.runMs, 100)
  await take(200, () => { lane.fail(new Error('broken')) })
  t.equal(queue.runMs, 110)
  await take(10, () => { lane.end() })
  t.equal(queue.runMs, 100)
})

t.test('it runs by the clock of this machine when none is given', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000 })
  const runs = [queue.run('runs'), queue.run('waits')]
  await turn()
  const { waitMs } = queue
  t.ok(waitMs > 0 && waitMs < 1000, `${waitMs} ms`)
  lane.end()
  await turn()
  lane.end()
  await Promise.all(runs)
})

t.test('a full queue refuses, and takes again when there is room', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 0, timeoutMs: 1000 })
  const first = queue.run('a')
  await t.rejects(queue.run('b'), { ...busy, reason: 'queue-full' })
  t.same(lane.started, ['a'])
  lane.end()
  await first
  const second = queue.run('b')
  lane.end()
  t.equal(await second, 'done')
})

t.test('a run that waits too long is refused and never starts', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const first = queue.run('a')
  const second = queue.run('b')
  clock.ring()
  await t.rejects(second, { ...busy, reason: 'queue-timeout' })
  await t.rejects(first, { code: 'FMG_ERR_MODEL_FAILED', reason: 'timed-out' })
  t.equal(queue.room, 1, 'the lane is held until the run ends')
  lane.end()
  await turn()
  t.equal(queue.room, 2)
  t.same(lane.started, ['a'])
  t.equal(clock.set.size, 0, 'no timer is left')
})

t.test('an aborted run that waits is dropped at once', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const first = queue.run('a')
  const controller = new AbortController()
  const second = queue.run('b', { signal: controller.signal })
  controller.abort()
  await t.rejects(second, { name: 'AbortError' })
  t.equal(queue.room, 1)
  t.equal(clock.set.size, 1)
  lane.end()
  await first
  t.same(lane.started, ['a'])
})

t.test('an aborted run that has begun holds its lane until it ends', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 0, timeoutMs: 1000 })
  const controller = new AbortController()
  let hasSettled = false
  const run = queue.run('a', { signal: controller.signal }).finally(() => { hasSettled = true })
  controller.abort()
  await turn()
  t.notOk(hasSettled)
  t.equal(queue.room, 0)
  lane.end()
  await t.rejects(run, { name: 'AbortError' }, 'and what it gave is dropped')
  t.equal(queue.room, 1)
})

t.test('a run that was aborted before is not taken', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000 })
  await t.rejects(queue.run('a', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  t.same(lane.started, [])
})

t.test('a signal that outlives its run is let go of', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const { signal } = new AbortController()
  const run = queue.run('a', { signal })
  t.equal(getEventListeners(signal, 'abort').length, 1)
  lane.end()
  await run
  t.equal(getEventListeners(signal, 'abort').length, 0)
  t.equal(clock.set.size, 0)
})

t.test('a run that fails frees its lane for the next', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000 })
  const first = queue.run('a')
  const second = queue.run('b')
  lane.fail(new Error('no'))
  await t.rejects(first, { message: 'no' })
  lane.end()
  t.equal(await second, 'done')
})

t.test('draining lets end what was taken, and takes nothing more', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000 })
  const runs = [queue.run('a'), queue.run('b')]
  let isDrained = false
  const drained = queue.drain().then(() => { isDrained = true })
  await t.rejects(queue.run('c'), { ...busy, reason: 'closing' })
  t.equal(queue.room, 0)
  lane.end()
  await turn()
  t.notOk(isDrained, 'one still runs')
  lane.end()
  await Promise.all([...runs, drained])
  await queue.drain()
})

t.test('without a lane those that wait are rejected, and nothing is taken until there is one', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const first = queue.run('a')
  const second = queue.run('b')
  const removed = queue.remove(lane)
  await t.rejects(second, gone)
  await t.rejects(queue.run('c'), gone)
  t.equal(queue.room, 0)
  t.equal(clock.set.size, 1)
  lane.fail(new Error('crash'))
  await t.rejects(first, { message: 'crash' })
  await removed
  t.same(lane.started, ['a'], 'a lane that was taken out gets nothing more')
  const other = handLane()
  queue.add(other)
  t.equal(queue.room, 2)
  const third = queue.run('d')
  other.end()
  t.equal(await third, 'done')
})

t.test('a lane that is taken out ends what it has, the others go on', async (t) => {
  const [leaving, staying] = [handLane(), handLane()]
  const queue = new RunQueue([leaving, staying], { queueLimit: 2, timeoutMs: 1000 })
  const runs = ['a', 'b', 'c'].map(async (input) => await queue.run(input))
  let isOut = false
  const removed = queue.remove(leaving).then(() => { isOut = true })
  await turn()
  t.notOk(isOut)
  leaving.end()
  await removed
  t.same([leaving.started, staying.started], [['a'], ['b']])
  staying.end()
  await turn()
  t.same(staying.started, ['b', 'c'])
  staying.end()
  t.same(await Promise.all(runs), ['done', 'done', 'done'])
  await queue.remove(leaving)
  await queue.remove(staying)
  t.equal(queue.room, 0)
})

t.test('who is turned away is told to come back when those that wait will be gone', async (t) => {
  const lane = handLane()
  let now = 0
  const queue = new RunQueue([lane], { queueLimit: 3, timeoutMs: 1000, now: () => now })
  const slow = async (milliseconds: number): Promise<void> => {
    const run = queue.run('a')
    now += milliseconds
    lane.end()
    await run
  }
  await slow(2000)
  const runs = ['b', 'c', 'd', 'e'].map(async (input) => await queue.run(input))
  await t.rejects(queue.run('f'), { code: 'FMG_ERR_MODEL_BUSY', headers: { 'retry-after': '6' } })
  for (let count = 0; count < runs.length; count++) {
    now += 1_000_000
    lane.end()
    await turn()
  }
  await Promise.all(runs)
  const more = ['b', 'c', 'd', 'e'].map(async (input) => await queue.run(input))
  await t.rejects(queue.run('f'), { code: 'FMG_ERR_MODEL_BUSY', headers: { 'retry-after': '30' } })
  for (let count = 0; count < more.length; count++) {
    lane.end()
    await turn()
  }
  await Promise.all(more)
})

t.test('a run may ask for less time than the queue gives, not for more', async (t) => {
  const asked: number[] = []
  const lane = handLane()
  const after = (milliseconds: number): () => void => {
    asked.push(milliseconds)
    return () => undefined
  }
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after })
  for (const timeoutMs of [10, 5000, undefined]) {
    const run = queue.run('a', { timeoutMs })
    lane.end()
    await run
  }
  t.same(asked, [10, 1000, 1000])
})

/** Takes letters together until there are `size`. */
function letters (size: number, maxDelayMs: number): Grouping<string, string> {
  return {
    maxDelayMs,
    takes: (group, next) => group.length < size && next !== 'alone',
    isFull: (group) => group.length >= size,
    run: async (lane, group) => (await lane.run(group.join('+'))).split('+').map((value) => ({ status: 'fulfilled', value }))
  }
}

t.test('runs that may be made together are, when they had to wait', async (t) => {
  const lane = handLane()
  let now = 0
  const ended: number[] = []
  const queue = new RunQueue([lane], { queueLimit: 9, timeoutMs: 1000, now: () => now }, letters(3, 0))
  const runs = ['a', 'b', 'c', 'd', 'e', 'alone', 'f'].map(async (input) => await queue.run(input, { ended: ({ laneMs }) => { ended.push(laneMs) } }))
  for (const expected of ['a', 'b+c+d', 'e', 'alone+f']) {
    t.equal(lane.started.at(-1), expected)
    now += 6
    lane.end(expected)
    await turn()
  }
  t.same(await Promise.all(runs), ['a', 'b', 'c', 'd', 'e', 'alone', 'f'])
  t.same(ended, [6, 2, 2, 2, 6, 3, 3], 'each its part of the time')
})

t.test('a lane that is idle waits for a full group, and no longer than it was told', async (t) => {
  const lane = handLane()
  const clock = handClock()
  let now = 0
  const queue = new RunQueue([lane], { queueLimit: 9, timeoutMs: 1000, after: clock.after, now: () => now }, letters(2, 5))
  const first = queue.run('a')
  t.same(lane.started, [])
  const second = queue.run('b')
  t.same(lane.started, ['a+b'], 'full')
  lane.end('a+b')
  t.same(await Promise.all([first, second]), ['a', 'b'])
  const third = queue.run('c')
  t.equal(clock.set.size, 2, 'its deadline, and the delay')
  now += 5
  const [, wake] = clock.set
  wake?.()
  t.same(lane.started, ['a+b', 'c'], 'late')
  lane.end('c')
  await third
  t.equal(clock.set.size, 0)
  const fourth = queue.run('d')
  const drained = queue.drain()
  t.same(lane.started, ['a+b', 'c', 'd'], 'closing')
  lane.end('d')
  await fourth
  await drained
})

t.test('who leaves a group before it runs is not in it', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 9, timeoutMs: 1000, after: clock.after, now: () => 0 }, letters(3, 5))
  const controller = new AbortController()
  const left = queue.run('left', { signal: controller.signal })
  controller.abort()
  await t.rejects(left, { name: 'AbortError' })
  t.equal(clock.set.size, 0, 'nobody is waited for')
  const runs = ['a', 'b', 'c'].map(async (input) => await queue.run(input))
  lane.end('a+b+c')
  t.same(await Promise.all(runs), ['a', 'b', 'c'])
})

t.test('whom a group gives nothing fails', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 9, timeoutMs: 1000 }, letters(2, 0))
  const runs = ['a', 'b', 'c'].map(async (input) => await queue.run(input))
  lane.end('a')
  await turn()
  lane.end('b')
  const outcomes = await Promise.allSettled(runs)
  t.match(outcomes, [{ value: 'a' }, { value: 'b' }, { reason: { code: 'FMG_ERR_MODEL_FAILED', reason: 'group-confused' } }])
})

t.test('when a run is over is told once, with how long it held its lane, whatever became of it', async (t) => {
  const lane = handLane()
  const clock = handClock()
  let now = 100
  const queue = new RunQueue([lane], { queueLimit: 2, timeoutMs: 1000, after: clock.after, now: () => now })
  const over: [string, EndedRun<string>][] = []
  const run = async (input: string, signal?: AbortSignal): Promise<unknown> =>
    await queue.run(input, { signal, ended: (ended) => { over.push([input, ended]) } }).catch((error: unknown) => error instanceof Error && 'reason' in error ? error.reason : String(error))
  const news = async (): Promise<unknown> => {
    await turn()
    return over.splice(0)
  }

  const given = run('given')
  now += 7
  lane.end()
  t.equal(await given, 'done')
  t.same(await news(), [['given', { output: 'done', laneMs: 7 }]])

  const timedOut = run('timed out')
  const [waited, dropped] = [run('waited too long'), run('refused', AbortSignal.abort())]
  const controller = new AbortController()
  const left = run('left', controller.signal)
  const refused = run('full')
  controller.abort()
  t.same(await news(), [['refused', { laneMs: 0 }], ['full', { laneMs: 0 }], ['left', { laneMs: 0 }]])
  clock.ring()
  t.same(await Promise.all([timedOut, waited, refused]), ['timed-out', 'queue-timeout', 'queue-full'])
  t.match(await Promise.all([left, dropped]), [/AbortError/, /AbortError/])
  t.same(await news(), [['waited too long', { laneMs: 0 }]], 'one that was answered for its time goes on')
  now += 5
  lane.end()
  t.same(await news(), [['timed out', { output: 'done', laneMs: 5 }]])

  const aborted = new AbortController()
  void run('aborted', aborted.signal)
  aborted.abort()
  t.same(await news(), [], 'nor does it end when its client leaves')
  now += 3
  lane.fail(new Error('no'))
  t.same(await news(), [['aborted', { laneMs: 3 }]])

  void run('running')
  void run('waiting')
  void queue.remove(lane)
  void run('late')
  lane.fail(new Error('crash'))
  t.same(await news(), [['waiting', { laneMs: 0 }], ['late', { laneMs: 0 }], ['running', { laneMs: 0 }]])
})

t.test('the time is this machine\'s when no other is given', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 0, timeoutMs: 1 })
  await t.rejects(queue.run('a'), { code: 'FMG_ERR_MODEL_FAILED', reason: 'timed-out' })
})
