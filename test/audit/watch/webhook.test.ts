import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { webhook, type WebhookOptions } from '../../../src/audit/watch/webhook.ts'
import { handSchedule } from '../../helpers/hand-schedule.ts'
import { until } from '../../helpers/until.ts'

const secret = Buffer.alloc(32, 5)

interface Received {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

async function receiver (t: Test, statuses: readonly number[] = []): Promise<{ url: string, received: Received[] }> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
      const status = statuses[received.length] ?? 204
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
      response.writeHead(status, status === 302 ? { location: '/elsewhere' } : {}).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, received }
}

function sending (t: Test, options: Partial<WebhookOptions> & { readonly url: string }): { errors: Error[], schedule: ReturnType<typeof handSchedule>, send: (id: string, message: object) => void, close: () => void } {
  const errors: Error[] = []
  const schedule = handSchedule()
  const sender = webhook({ secret, clock: () => 1_700_000_000_999, schedule: schedule.schedule, ...options }, (error) => { errors.push(error) })
  t.teardown(() => { sender.close() })
  return { errors, schedule, send: (id, message) => { sender.send(id, message) }, close: () => { sender.close() } }
}

t.test('messages are signed as Standard Webhooks says, and come in their order', async (t) => {
  const { url, received } = await receiver(t)
  const { send } = sending(t, { url })
  send('a-1', { type: 'x' })
  send('a-2', { type: 'y' })
  await until(() => received.length === 2)
  const [first, second] = received
  t.equal(first?.body, '{"type":"x"}')
  const signature = createHmac('sha256', secret).update('a-1.1700000000.{"type":"x"}').digest('base64')
  t.match(first?.headers, { 'webhook-id': 'a-1', 'webhook-timestamp': '1700000000', 'webhook-signature': `v1,${signature}`, 'content-type': 'application/json' })
  t.equal(second?.headers['webhook-id'], 'a-2')
})

t.test('the example of Standard Webhooks is signed as it is published', async (t) => {
  const { url, received } = await receiver(t)
  const { send } = sending(t, { url, secret: Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64'), clock: () => 1_614_265_330_000 })
  send('msg_p5jXN8AQM9LWM0D4loKWxJek', { test: 2_432_232_314 })
  await until(() => received.length === 1)
  const signed = createHmac('sha256', Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64')).update('msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test":2432232314}').digest('base64')
  t.equal(received[0]?.headers['webhook-signature'], `v1,${signed}`)
})

t.test('what fails is tried again, later and later, under the same id, and then given up aloud', async (t) => {
  const { url, received } = await receiver(t, [500, 302, 404, 204])
  const { send, schedule, errors } = sending(t, { url, maxAttempts: 3 })
  send('a-1', {})
  send('a-2', {})
  for (const delay of [1000, 2000]) {
    await until(() => schedule.delays.length === 1)
    t.same(schedule.delays, [delay])
    schedule.run()
  }
  await until(() => received.length === 4)
  t.same(received.map(({ headers }) => headers['webhook-id']), ['a-1', 'a-1', 'a-1', 'a-2'], 'a redirect is not followed')
  t.match(errors, [{ message: 'alert a-1 is not sent', cause: { message: 'the webhook answered 404' } }])
})

t.test('no more than so many wait, and what is closed sends nothing', async (t) => {
  const { url, received } = await receiver(t, [500])
  const { send, schedule, errors, close } = sending(t, { url, maxWaiting: 2 })
  for (const id of ['a-1', 'a-2', 'a-3']) send(id, {})
  t.match(errors, [{ message: 'alert a-3 is not sent: too many wait' }])
  await until(() => schedule.delays.length === 1)
  close()
  t.equal(schedule.run(), 0)
  t.equal(received.length, 1)
  const closed = sending(t, { url })
  closed.close()
  closed.send('a-4', {})
  t.equal(received.length, 1)
})

t.test('by itself it waits on the clock, and what is too slow fails', async (t) => {
  const { url, received } = await receiver(t, [500])
  const sender = webhook({ url, secret }, () => undefined)
  t.teardown(() => { sender.close() })
  sender.send('a-1', {})
  await until(() => received.length === 1)
  await until(() => received.length === 2)
  t.ok(Math.abs(Number(received[1]?.headers['webhook-timestamp']) - Date.now() / 1000) < 60)
  sender.close()
})

t.test('options are read strictly', async (t) => {
  for (const [options, path] of [[{ url: 'http://example.com/' }, 'url'], [{ url: 'https://u:p@example.com/' }, 'url'], [{ secret: Buffer.alloc(23) }, 'secret'], [{ secret: Buffer.alloc(65) }, 'secret'], [{ maxAttempts: 21 }, 'maxAttempts']] as const) {
    t.throws(() => webhook({ url: 'https://example.com/', secret, ...options }, () => undefined), { code: 'FMG_ERR_OPTION_INVALID', message: `webhook.${path}` })
  }
})
