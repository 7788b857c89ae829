import { EventEmitter } from 'node:events'
import { request as ask, type ClientRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { startSession, type ModelSession, type RunOptions } from '../../src/model/session.ts'
import { clientSignal } from '../../src/plugins/client-signal.ts'
import type { ModelVersion } from '../../src/plugins/model-handle.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { openInference } from '../../src/server/open-inference.ts'
import { sendError } from '../../src/server/send-error.ts'
import { asPrincipal } from '../../src/testing.ts'
import { guardOptions } from '../helpers/guard.ts'
import { slowModel } from '../helpers/onnx.ts'
import { servedModels } from '../helpers/served-models.ts'
import { until } from '../helpers/until.ts'

const size = 256

interface SlowServer {
  readonly session: ModelSession
  /** Milliseconds that each run took which is over; 0 for one that never began. */
  readonly ended: readonly number[]
  /** Sends a request that gives the model so many microseconds. */
  readonly send: (timeout?: number) => { readonly request: ClientRequest, readonly answer: Promise<{ readonly status: number | undefined, readonly retryAfter: string | undefined, readonly body: unknown }> }
}

/** The protocol's routes for one model that takes its time, in one worker. */
async function slowServer (t: Test): Promise<SlowServer> {
  const files = new Map([['model.onnx', new Uint8Array(slowModel(size, 500))]])
  const session = await startSession({ files, externalData: [], zero: async () => undefined }, { queueLimit: 1, timeoutMs: 60_000, threads: 1 })
  const ended: number[] = []
  const handle = {
    id: 'slow',
    version: '1',
    attributes: { org: 'acme' },
    run: async (inputs: Parameters<ModelSession['run']>[0], options: RunOptions) => await session.run(inputs, {
      ...options,
      ended: (run) => {
        ended.push(run.computeMs)
        options.ended?.(run)
      }
    })
  } as unknown as ModelVersion
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await session.close()
  })
  app.setErrorHandler(sendError)
  app.decorate('models', servedModels({ find: () => handle, list: () => [handle] }))
  app.decorateRequest('model', null)
  await app.register(modelGuard, guardOptions())
  await app.register(openInference, { name: 'test', version: '1' })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const { headers } = asPrincipal({ id: 'ann', org: 'acme', roles: ['analyst'] })
  const tensor = Buffer.alloc(size * size * 4)
  return {
    session,
    ended,
    send (timeout) {
      const json = Buffer.from(JSON.stringify({ parameters: { timeout }, inputs: [{ name: 'x', datatype: 'FP32', shape: [size, size], parameters: { binary_data_size: tensor.length } }], outputs: [] }))
      const request = ask({ port, method: 'POST', path: '/v2/models/slow/infer', headers: { ...headers, 'inference-header-content-length': json.length, 'content-length': json.length + tensor.length } })
      const answer = new Promise<Awaited<ReturnType<SlowServer['send']>['answer']>>((resolve) => {
        request.on('error', () => { resolve({ status: undefined, retryAfter: undefined, body: null }) })
        request.once('response', (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk }).once('end', () => {
            resolve({ status: response.statusCode, retryAfter: response.headers['retry-after'], body: JSON.parse(text) })
          })
        })
      })
      request.end(Buffer.concat([json, tensor]))
      return { request, answer }
    }
  }
}

t.test('a request whose client goes while it waits never runs, and its place is free at once', async (t) => {
  const { session, ended, send } = await slowServer(t)
  const running = send()
  await until(() => session.room === 1)
  const waiting = send()
  await until(() => session.room === 0)
  waiting.request.destroy()
  await until(() => session.room === 1 || ended.length > 1)
  t.same(ended, [0], 'dropped before the other has ended')
  t.equal((await running.answer).status, 200)
  await until(() => ended.length === 2)
  t.ok((ended[1] ?? 0) > 0)
  t.equal(session.room, 2)
})

t.test('a request that gives the model less time than it must wait is told to come back, and never runs', async (t) => {
  const { session, ended, send } = await slowServer(t)
  const running = send()
  await until(() => session.room === 1)
  t.match(await send(1).answer, { status: 503, retryAfter: '1', body: { code: 'FMG_ERR_MODEL_BUSY' } })
  t.same(ended, [0])
  const waiting = send(60_000_000)
  await until(() => session.room === 0)
  t.match(await send().answer, { status: 503, retryAfter: '1', body: { code: 'FMG_ERR_MODEL_BUSY' } }, 'the queue is full')
  t.equal((await running.answer).status, 200)
  t.equal((await waiting.answer).status, 200)
})

t.test('the signal of a client that has gone before, and of one that was answered', async (t) => {
  const raw = Object.assign(new EventEmitter(), { destroyed: false, writableEnded: false })
  const reply = { raw } as unknown as FastifyReply
  const signals = [clientSignal(reply)]
  t.notOk(signals[0]?.aborted)
  raw.emit('close')
  t.ok(signals[0]?.aborted)
  raw.destroyed = true
  t.ok(clientSignal(reply).aborted)
  const answered = Object.assign(new EventEmitter(), { destroyed: false, writableEnded: true })
  const signal = clientSignal({ raw: answered } as unknown as FastifyReply)
  answered.emit('close')
  t.notOk(signal.aborted)
})
