import { getEventListeners } from 'node:events'
import t from 'tap'
import { RunQueue, type EndedRun, type Lane } from '../../src/model/run-queue.ts'

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
  const second = queue.run('b', controller.signal)
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
  const run = queue.run('a', controller.signal).finally(() => { hasSettled = true })
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
  await t.rejects(queue.run('a', AbortSignal.abort()), { name: 'AbortError' })
  t.same(lane.started, [])
})

t.test('a signal that outlives its run is let go of', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const { signal } = new AbortController()
  const run = queue.run('a', signal)
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

t.test('failing rejects those that wait, with what it failed of', async (t) => {
  const lane = handLane()
  const clock = handClock()
  const queue = new RunQueue([lane], { queueLimit: 1, timeoutMs: 1000, after: clock.after })
  const first = queue.run('a')
  const second = queue.run('b')
  const crash = new Error('crash')
  queue.fail(crash)
  await t.rejects(second, crash)
  await t.rejects(queue.run('c'), crash)
  t.equal(clock.set.size, 1)
  lane.fail(crash)
  await t.rejects(first, crash)
  t.same(lane.started, ['a'])
})

t.test('when a run is over is told once, with how long it held its lane, whatever became of it', async (t) => {
  const lane = handLane()
  const clock = handClock()
  let now = 100
  const queue = new RunQueue([lane], { queueLimit: 2, timeoutMs: 1000, after: clock.after, now: () => now })
  const over: [string, EndedRun<string>][] = []
  const run = async (input: string, signal?: AbortSignal): Promise<unknown> =>
    await queue.run(input, signal, (ended) => { over.push([input, ended]) }).catch((error: unknown) => error instanceof Error && 'reason' in error ? error.reason : String(error))
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
  queue.fail(new Error('crash'))
  void run('late')
  lane.fail(new Error('crash'))
  t.same(await news(), [['waiting', { laneMs: 0 }], ['late', { laneMs: 0 }], ['running', { laneMs: 0 }]])
})

t.test('the time is this machine\'s when no other is given', async (t) => {
  const lane = handLane()
  const queue = new RunQueue([lane], { queueLimit: 0, timeoutMs: 1 })
  await t.rejects(queue.run('a'), { code: 'FMG_ERR_MODEL_FAILED', reason: 'timed-out' })
})
