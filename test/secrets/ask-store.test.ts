import type { RequestListener } from 'node:http'
import t, { type Test } from 'tap'
import { object, string } from '../../src/options.ts'
import { askStore, patienceShape, readAnswer, statusFailure, type AskStore, type StorePatience } from '../../src/secrets/ask-store.ts'
import { listen } from '../helpers/listen.ts'
import { collect } from '../helpers/memory.ts'

const readPatience = object(patienceShape)

interface Asked {
  readonly ask: AskStore
  readonly url: string
  readonly pauses: number[]
  readonly count: () => number
  readonly stop: () => void
  now: number
}

/** A client of a store that answers like this; its pauses are only noted. */
async function asking (t: Test, answer: RequestListener, patience: StorePatience = {}): Promise<Asked> {
  let count = 0
  const pauses: number[] = []
  const { url, stop } = await listen(t, (request, response) => {
    count++
    answer(request, response)
  })
  const asked: Asked = {
    url,
    stop,
    pauses,
    now: 0,
    count: () => count,
    ask: askStore(readPatience({ clock: () => asked.now, random: () => 0.5, pause: async (milliseconds: number) => { await Promise.resolve(pauses.push(milliseconds)) }, ...patience }, 'patience'))
  }
  return asked
}

function failure (reason: string, why = /./) {
  return { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503, reason, cause: { message: why } }
}

t.test('a store that is busy, or breaks off, is asked again after a pause within bounds that grow', async (t) => {
  const asked = await asking(t, (request, response) => {
    if (asked.count() === 1) response.writeHead(503).end()
    else if (asked.count() === 2) request.destroy()
    else response.end('"here"')
  })
  t.equal(readAnswer(string(), await asked.ask(asked.url)), 'here')
  t.strictSame(asked.pauses, [50, 100])
  const { ask } = await asking(t, (_request, response) => { response.end() }, { random: undefined, pause: undefined, clock: undefined })
  t.equal((await ask(asked.url)).status, 200)
})

t.test('it is asked so often and no more', async (t) => {
  for (const [status, attempts] of [[503, 3], [500, 1], [429, 2]] as const) {
    const asked = await asking(t, (_request, response) => { response.writeHead(status).end('why: sesame') }, { maxAttempts: attempts })
    await t.rejects(asked.ask(asked.url), failure('store-busy', new RegExp(`^status ${status}$`)))
    t.equal(asked.count(), attempts)
  }
})

t.test('what it says of the question is an answer, and is not asked for again', async (t) => {
  const asked = await asking(t, (_request, response) => { response.writeHead(403, { 'x-why': 'denied' }).end('{}') })
  const { status, headers } = await asked.ask(asked.url, { method: 'POST', body: '{}', headers: { 'x-token': 'a' } })
  t.strictSame([status, headers.get('x-why'), asked.count()], [403, 'denied', 1])
})

t.test('headers are made anew for each attempt', async (t) => {
  const seen: unknown[] = []
  const asked = await asking(t, (request, response) => {
    seen.push(request.headers['x-attempt'])
    response.writeHead(seen.length < 3 ? 500 : 200).end()
  })
  let attempt = 0
  await asked.ask(asked.url, { headers: () => ({ 'x-attempt': `${++attempt}` }) })
  t.strictSame(seen, ['1', '2', '3'])
})

t.test('a store that takes the question and never answers, or never ends its answer, is given up in time', async (t) => {
  for (const answer of [() => {}, (_request, response) => { response.write('{') }] satisfies RequestListener[]) {
    const asked = await asking(t, answer, { timeoutMs: 90, clock: undefined })
    const before = performance.now()
    await t.rejects(asked.ask(asked.url), failure('store-slow', /timeout/))
    t.equal(asked.count() <= 3, true)
    // Its own bound and no more: far below what would be a hang.
    t.ok(performance.now() - before < 5000)
  }
})

t.test('an answer that trickles is given up in time, also after garbage was collected', async (t) => {
  const asked = await asking(t, (_request, response) => {
    const trickle = setInterval(() => { response.write(' ') }, 5)
    response.on('close', () => { clearInterval(trickle) })
  }, { timeoutMs: 150, maxAttempts: 1, clock: undefined })
  const garbage = setInterval(collect, 5)
  t.teardown(() => { clearInterval(garbage) })
  await Promise.all(Array.from({ length: 10 }, async () => { await t.rejects(asked.ask(asked.url), failure('store-slow', /timeout/)) }))
})

t.test('there is no pause that would end after the time for the question', async (t) => {
  const part = await asking(t, (_request, response) => { response.writeHead(503).end() }, { random: () => 40 })
  await t.rejects(part.ask(part.url, { until: 12_000 }), failure('store-busy'))
  await t.rejects(part.ask(part.url, { until: 3500 }), failure('store-busy'))
  t.strictSame(part.pauses, [4000, 8000], 'a part of a larger question ends with that')
  const late = await asking(t, (_request, response) => {
    late.now += 8000
    response.writeHead(503).end()
  }, { timeoutMs: 12_000, random: () => 50 })
  await t.rejects(late.ask(late.url), failure('store-busy'))
  t.strictSame([late.count(), late.pauses], [1, []])
})

t.test('a store that is down, sends elsewhere, or says too much gives nothing, and is not quoted', async (t) => {
  const gone = await asking(t, () => {})
  gone.stop()
  await t.rejects(gone.ask(gone.url), failure('store-unreachable', /ECONNREFUSED/))
  const elsewhere = await asking(t, (_request, response) => { response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end() })
  await t.rejects(elsewhere.ask(elsewhere.url), failure('store-unreachable', /redirect/))
  const large = await asking(t, (_request, response) => { response.end('sesame'.repeat(100)) }, { maxAnswerBytes: 599 })
  await t.rejects(large.ask(large.url), failure('store-unreachable', /^more than 599 bytes$/))
})

t.test('a store that failed again and again is left alone, but for one question each time', async (t) => {
  const asked = await asking(t, (_request, response) => { response.writeHead(asked.count() === 4 ? 200 : 500).end() }, { maxAttempts: 1, maxFailures: 2, restMs: 1000 })
  const ask = async (): Promise<unknown> => await asked.ask(asked.url)
  for (const reason of ['store-busy', 'store-busy', 'store-resting', 'store-resting']) await t.rejects(ask(), failure(reason))
  t.equal(asked.count(), 2)
  asked.now = 1000
  await t.rejects(ask(), failure('store-busy'))
  await t.rejects(ask(), failure('store-resting'))
  asked.now = 2000
  await ask()
  await t.rejects(ask(), failure('store-busy'), 'it is asked again once it answered')
  t.equal(asked.count(), 5)
})

t.test('an answer that is not what it should be is not shown, and wiped like any other', async (t) => {
  for (const text of ['sesame', '{"key":"sesame"}', '']) {
    const body = Buffer.from(text)
    const answer = { status: 200, headers: new Headers(), body }
    t.throws(() => readAnswer(object({ other: string() }), answer), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'store-garbage', cause: { message: /^(?!.*sesame)/ } })
    t.ok(body.every((byte) => byte === 0))
  }
  const body = Buffer.from('"sesame"')
  t.equal(readAnswer(string(), { status: 200, headers: new Headers(), body }), 'sesame')
  t.ok(body.every((byte) => byte === 0))
})

t.test('a status is told, and what was said with it neither told nor kept', async (t) => {
  for (const [status, reason] of [[401, 'store-denied'], [403, 'store-denied'], [404, 'store-missing'], [400, 'store-refused']] as const) {
    const body = Buffer.from('sesame')
    t.match(statusFailure({ status, headers: new Headers(), body }), failure(reason, new RegExp(`^status ${status}$`)))
    t.ok(body.every((byte) => byte === 0))
  }
})
