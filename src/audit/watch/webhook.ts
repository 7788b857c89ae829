import { createHmac } from 'node:crypto'
import { boundedFetch, isTrustworthyUrl, type Fetch } from '../../bounded-fetch.ts'
import { anyThat, functionOf, integer, object, withDefault } from '../../options.ts'

export interface WebhookOptions {
  /** An https URL, or one of this machine. It is not followed elsewhere. */
  readonly url: string
  /** What messages are signed with, 24 to 64 bytes: after `whsec_` in base64 it is what the receiver is given. */
  readonly secret: Uint8Array
  /** Messages that wait to be sent, at most; one more is told to `onError` and not sent. Default 1000. */
  readonly maxWaiting?: number
  /** For each attempt. Default 5000. */
  readonly timeoutMs?: number
  /** Attempts a message. The second comes after a second, each one after it twice as late. Default 8: two minutes. */
  readonly maxAttempts?: number
  readonly fetch?: Fetch
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
  /** Runs something later; gives what cancels it. */
  readonly schedule?: (run: () => void, delayMs: number) => () => void
}

/** Sends messages to one place, one after the other. */
export interface Webhook {
  /** @param id the same for the same message, however often it is sent: the receiver takes it once. */
  send (id: string, message: object): void
  /** Gives up what waits. */
  close (): void
}

/** Option `webhook`. */
export const readWebhookOptions = object({
  url: anyThat(isTrustworthyUrl, 'an https URL without user, password and fragment'),
  secret: anyThat((value): value is Uint8Array => value instanceof Uint8Array && value.byteLength >= 24 && value.byteLength <= 64, '24 to 64 bytes'),
  maxWaiting: withDefault(integer({ min: 1, max: 100_000 }), 1000),
  timeoutMs: withDefault(integer({ min: 1, max: 60_000 }), 5000),
  maxAttempts: withDefault(integer({ min: 1, max: 20 }), 8),
  fetch: withDefault(functionOf<Fetch>(), async (url: string, init: RequestInit) => await fetch(url, init)),
  clock: withDefault(functionOf<() => number>(), Date.now),
  schedule: withDefault(functionOf<NonNullable<WebhookOptions['schedule']>>(), later)
})

function later (run: () => void, delayMs: number): () => void {
  const timer = setTimeout(run, delayMs).unref()
  return () => { clearTimeout(timer) }
}

interface Message {
  readonly id: string
  readonly body: string
  attempts: number
}

const firstDelayMs = 1000
const maxAnswerBytes = 65_536

/**
 * Messages as Standard Webhooks 1.0.0 signs them: `webhook-signature` is `v1,` and HMAC-SHA-256 in base64 of id, time and body.
 * @param onError told of what is not sent.
 */
export function webhook (options: WebhookOptions, onError: (error: Error) => void): Webhook {
  const { url, secret, maxWaiting, timeoutMs, maxAttempts, fetch, clock, schedule } = readWebhookOptions(options, 'webhook')
  const waiting: Message[] = []
  let isSending = false
  let isClosed = false
  let cancel = (): void => undefined

  async function attempt ({ id, body }: Message): Promise<void> {
    const timestamp = String(Math.floor(clock() / 1000))
    const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')
    const headers = { 'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
    const answer = await boundedFetch(fetch, url, { timeoutMs, maxBytes: maxAnswerBytes }, { method: 'POST', headers, body })
    await answer.read()
    if (answer.status < 200 || answer.status > 299) throw new Error(`the webhook answered ${answer.status}`)
  }

  function next (): void {
    const [message] = waiting
    if (isClosed || message === undefined) {
      isSending = false
      return
    }
    isSending = true
    message.attempts++
    attempt(message).then(() => {
      waiting.shift()
      next()
    }, (cause: unknown) => {
      if (message.attempts < maxAttempts) {
        cancel = schedule(next, firstDelayMs * 2 ** (message.attempts - 1))
        return
      }
      waiting.shift()
      onError(new Error(`alert ${message.id} is not sent`, { cause }))
      next()
    })
  }

  return {
    send (id, message) {
      if (waiting.length >= maxWaiting) {
        onError(new Error(`alert ${id} is not sent: too many wait`))
        return
      }
      waiting.push({ id, body: JSON.stringify(message), attempts: 0 })
      if (!isSending) next()
    },
    close () {
      isClosed = true
      cancel()
    }
  }
}
