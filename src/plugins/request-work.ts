import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { guardError } from '../errors.ts'
import { outputsFor } from './coarse-outputs.ts'
import type { ModelHandle } from './model-handle.ts'

/**
 * Milliseconds for which a request whose client left, and whose handler has not answered, counts as at work: a handler that returns
 * without an answer never says that it is done.
 */
const unansweredMs = 60_000

/** What goes on for one request: its answer, the runs of its model, and whatever its handler says goes on beside. */
export class RequestWork {
  /** Milliseconds that the model ran for this request until now. */
  computeMs = 0
  /** Runs of the model that go on. */
  runs = 0
  readonly #after: (milliseconds: number, callback: () => void) => () => void
  readonly #callbacks: (() => void)[] = []
  #parts = 0
  #isWatched = false
  #isAnswered = false
  #settleAnswer = (): void => undefined

  /** @param after calls back after so many milliseconds, unless cancelled by what it gave; by default by this machine's clock. */
  constructor (after = afterOnClock) {
    this.#after = after
  }

  /** Whether all has ended; never before somebody asked for it by `whenOver`. */
  get isOver (): boolean {
    return this.#isWatched && this.#parts === 0
  }

  /** Something more goes on, until what this gives is called. */
  begin (): () => void {
    if (this.isOver) return () => undefined
    let goesOn = true
    this.#parts++
    return () => {
      if (!goesOn) return
      goesOn = false
      this.#parts--
      if (this.isOver) for (const callback of this.#callbacks.splice(0)) callback()
    }
  }

  /** Calls back once, when nothing goes on any more and the answer is over, however it ended. */
  whenOver (reply: FastifyReply, callback: () => void): void {
    if (!this.#isWatched) this.#watch(reply)
    if (this.isOver) callback()
    else this.#callbacks.push(callback)
  }

  /** The handler has given its answer. */
  answered (): void {
    this.#isAnswered = true
    this.#settleAnswer()
  }

  #watch (reply: FastifyReply): void {
    const end = this.begin()
    this.#isWatched = true
    const close = (): void => {
      // A client that leaves ends nothing: the handler goes on, and by asking and leaving again and again anybody could have any number at work.
      if (this.#isAnswered || reply.sent) {
        end()
        return
      }
      const cancel = this.#after(unansweredMs, end)
      this.#settleAnswer = () => {
        cancel()
        end()
      }
    }
    if (isClosed(reply)) close()
    else reply.raw.once('close', close)
  }
}

/** Whether `close` was emitted before: it comes once. */
function isClosed ({ raw }: FastifyReply): boolean {
  // Over HTTP/2 only the stream says so.
  return raw.destroyed || ('stream' in raw && (raw.stream as { readonly closed?: boolean }).closed === true)
}

function afterOnClock (milliseconds: number, callback: () => void): () => void {
  const timer = setTimeout(callback, milliseconds).unref()
  return () => { clearTimeout(timer) }
}

const ofRequest = Symbol('fastify-model-guard/work')
const noting = Symbol('fastify-model-guard.notesAnswers')

type WorkingRequest = FastifyRequest & { [ofRequest]?: RequestWork }

/** What goes on for this request. */
export function workOf (request: WorkingRequest): RequestWork {
  request[ofRequest] ??= new RequestWork()
  return request[ofRequest]
}

/** Milliseconds that the model has run for this request; `undefined` when it has not. */
export function computeMsOf (request: WorkingRequest): number | undefined {
  const computeMs = request[ofRequest]?.computeMs ?? 0
  return computeMs > 0 ? computeMs : undefined
}

/** Whether a model has run for this request, or does. */
export function hasRun (request: WorkingRequest): boolean {
  const work = request[ofRequest]
  return work !== undefined && (work.computeMs > 0 || work.runs > 0)
}

/** Has the work of the requests of this scope know when they are answered. */
export function noteAnswers (app: FastifyInstance): void {
  if (app.hasDecorator(noting)) return
  app.decorate(noting, true)
  app.addHook('onSend', function noteAnswer (request: WorkingRequest, _reply, payload: unknown, done) {
    request[ofRequest]?.answered()
    done(null, payload)
  })
}

/** The same model, whose runs belong to the work of this request. */
export function modelFor (request: FastifyRequest, handle: ModelHandle): ModelHandle {
  const work = workOf(request)
  return Object.freeze<ModelHandle>({
    id: handle.id,
    version: handle.version,
    digest: handle.digest,
    attributes: handle.attributes,
    inputs: handle.inputs,
    outputs: handle.outputs,
    get ready () { return handle.ready },
    get waitMs () { return handle.waitMs },
    get runMs () { return handle.runMs },
    run: async (...[inputs, options]: Parameters<ModelHandle['run']>) => {
      // Its slots are free, its charge is settled, and nobody waits for what it would give.
      if (work.isOver) throw guardError('FMG_ERR_MODEL_FAILED', { reason: 'request-over' })
      // The memory under the tensors may move to the model's thread.
      request.audit?.sketch(handle.id, inputs, rowsOf(handle, inputs))
      const end = work.begin()
      work.runs++
      const { outputs, ...run } = await handle.run(inputs, {
        ...options,
        ended (run) {
          work.runs--
          work.computeMs += run.computeMs
          end()
          options?.ended?.(run)
        }
      })
      return { ...run, outputs: outputsFor(request, outputs) }
    }
  })
}

/** How many inputs stand side by side, where the model leaves their number open. */
function rowsOf ({ inputs: declared }: ModelHandle, inputs: Parameters<ModelHandle['run']>[0]): number {
  const batched = declared.find(({ shape }) => shape[0] === null)
  return Math.max(1, (batched === undefined ? undefined : inputs[batched.name])?.shape[0] ?? 1)
}

/**
 * Keeps the slots of this request, and its charge open, until this promise is settled, also when its client leaves or its answer is over: for
 * servers whose model is not run by `request.model`. Call it before the answer is given; afterwards it changes nothing.
 */
export function holdUntil (request: FastifyRequest, promise: Promise<unknown>): void {
  const end = workOf(request).begin()
  promise.then(end, end)
}
