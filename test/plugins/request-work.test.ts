import { EventEmitter } from 'node:events'
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { MeasuredRun } from '../../src/model/session.ts'
import type { ModelHandle } from '../../src/plugins/model-handle.ts'
import { computeMsOf, holdUntil, modelFor, RequestWork, workOf } from '../../src/plugins/request-work.ts'

/** A clock that stands still until it is told to ring. */
function handClock (): { after: (milliseconds: number, callback: () => void) => () => void, readonly set: Map<() => void, number> } {
  const set = new Map<() => void, number>()
  return {
    set,
    after: (milliseconds, callback) => {
      set.set(callback, milliseconds)
      return () => { set.delete(callback) }
    }
  }
}

interface TestReply {
  readonly reply: FastifyReply
  readonly raw: EventEmitter & { destroyed?: boolean, stream?: { closed: boolean } }
}

function testReply (more: object = {}, sent = false): TestReply {
  const raw = Object.assign(new EventEmitter(), more)
  return { raw, reply: { raw, sent } as unknown as FastifyReply }
}

/** Work, and how often it was told to be over. */
function watched (reply: FastifyReply, clock = handClock()): { work: RequestWork, over: () => number } {
  const work = new RequestWork(clock.after)
  let over = 0
  work.whenOver(reply, () => { over++ })
  return { work, over: () => over }
}

t.test('a request is over when its answer was given and its response is closed', async (t) => {
  const { reply, raw } = testReply()
  const { work, over } = watched(reply)
  work.answered()
  t.equal(over(), 0)
  raw.emit('close')
  t.same([over(), work.isOver], [1, true])
  work.answered()
  t.equal(over(), 1, 'once')
  work.whenOver(reply, () => { t.pass('who asks later is told at once') })
})

t.test('a client that leaves ends nothing: the handler goes on until it answers', async (t) => {
  const clock = handClock()
  const { reply, raw } = testReply()
  const { work, over } = watched(reply, clock)
  raw.emit('close')
  t.same([over(), [...clock.set.values()]], [0, [60_000]])
  work.answered()
  t.same([over(), clock.set.size], [1, 0], 'and nothing waits for the clock any more')
})

t.test('a handler that never answers a client that left is over after a minute', async (t) => {
  const clock = handClock()
  const { reply, raw } = testReply()
  const { over } = watched(reply, clock)
  raw.emit('close')
  for (const ring of clock.set.keys()) ring()
  t.equal(over(), 1)
})

t.test('a reply that was sent past Fastify is answered', async (t) => {
  const { reply, raw } = testReply({}, true)
  const { over } = watched(reply)
  t.equal(over(), 0)
  raw.emit('close')
  t.equal(over(), 1)
})

t.test('a response that closed before anybody watched is closed', async (t) => {
  for (const closed of [{ destroyed: true }, { stream: { closed: true } }]) {
    const { work, over } = watched(testReply(closed).reply)
    t.equal(over(), 0)
    work.answered()
    t.equal(over(), 1)
  }
  const { work, over } = watched(testReply({ destroyed: false, stream: { closed: false } }).reply)
  work.answered()
  t.equal(over(), 0)
})

t.test('what goes on beside the answer keeps the request at work, each once', async (t) => {
  const { reply, raw } = testReply()
  const { work, over } = watched(reply)
  const [one, two] = [work.begin(), work.begin()]
  work.answered()
  raw.emit('close')
  one()
  one()
  t.equal(over(), 0)
  two()
  t.equal(over(), 1)
  work.begin()()
  t.ok(work.isOver, 'what begins later belongs to it no more')
})

const request = (): FastifyRequest => ({}) as FastifyRequest

/** A model whose runs end when they are told to. */
function handModel (): { handle: ModelHandle, asked: () => number, end: (run: MeasuredRun) => void } {
  let asked = 0
  let ended: (run: MeasuredRun) => void = () => undefined
  const handle = {
    id: 'fraud',
    ready: true,
    waitMs: 3,
    runMs: 4,
    run: async (_inputs: unknown, options: { ended?: typeof ended } = {}) => {
      asked++
      ended = options.ended ?? ended
      return { outputs: {}, computeMs: 1 }
    }
  } as unknown as ModelHandle
  return { handle, asked: () => asked, end: (run) => { ended(run) } }
}

t.test('a run belongs to its request until it has really ended, whenever it was answered', async (t) => {
  const { handle, end } = handModel()
  const of = request()
  const { reply, raw } = testReply({}, true)
  let over = 0
  workOf(of).whenOver(reply, () => { over++ })
  const model = modelFor(of, handle)
  t.match(model, { id: 'fraud', ready: true, waitMs: 3, runMs: 4 })
  let told = 0
  await model.run({}, { ended: ({ computeMs }) => { told += computeMs } })
  raw.emit('close')
  t.same([over, computeMsOf(of), told], [0, undefined, 0])
  end({ computeMs: 12.5 })
  t.same([over, computeMsOf(of), told], [1, 12.5, 12.5])
})

t.test('a request that is over runs nothing', async (t) => {
  const { handle, asked } = handModel()
  const of = request()
  const { reply, raw } = testReply({}, true)
  workOf(of).whenOver(reply, () => undefined)
  const model = modelFor(of, handle)
  raw.emit('close')
  await t.rejects(model.run({}), { code: 'FMG_ERR_MODEL_FAILED', reason: 'request-over' })
  t.equal(asked(), 0)
  await modelFor(request(), handle).run({})
  t.equal(asked(), 1, 'of another request, that nobody watches, it does')
})

t.test('a server with its own model says what it waits for', async (t) => {
  for (const settle of ['resolve', 'reject'] as const) {
    const of = request()
    const { reply, raw } = testReply({}, true)
    let over = 0
    workOf(of).whenOver(reply, () => { over++ })
    let end = (): void => undefined
    const promise = new Promise<void>((resolve, reject) => { end = settle === 'resolve' ? resolve : () => { reject(new Error('no')) } })
    holdUntil(of, promise)
    raw.emit('close')
    t.equal(over, 0)
    end()
    await promise.catch(() => undefined)
    t.equal(over, 1)
  }
})
