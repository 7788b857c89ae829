import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { KeyedDigest } from '../audit/keyed-digest.ts'

/**
 * Digests what a stream carries while somebody else reads it: no second copy, no stream in between.
 * @param wholeLength bytes expected, where known: a single chunk of that length takes the cheaper one-shot digest.
 * @returns the digest of all that has passed when it is first asked for; `undefined` while nothing has.
 */
export function streamDigest (stream: Readable, field: string, digests: KeyedDigest, wholeLength = NaN): () => string | undefined {
  let running: ReturnType<KeyedDigest['start']> | undefined
  let digest: string | undefined
  // `prependListener` does not set the stream flowing, as `on('data')` would: its reader does that when it is ready.
  stream.prependListener('data', (chunk: string | Uint8Array) => {
    // Taken already: the answer came before the end, as it does for a body that is too large.
    if (digest !== undefined) return
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (running === undefined && bytes.byteLength === wholeLength) {
      digest = digests.digest(field, bytes)
      return
    }
    running ??= digests.start(field)
    running.update(bytes)
  })
  return () => {
    digest ??= running?.digest()
    return digest
  }
}

/** The plain SHA-256 of a stream that somebody else reads, as {@link streamDigest}; `undefined` until it has been read to its end. */
export function wholeDigest (stream: Readable): () => Buffer | undefined {
  const running = createHash('sha256')
  stream.prependListener('data', (chunk: string | Uint8Array) => { running.update(chunk) })
  return () => stream.readableEnded ? running.copy().digest() : undefined
}

/**
 * The Node stream in which an answer will leave, or `null` for an answer that is whole.
 * A web `Response` gives its status and headers to the reply, as Fastify would do a moment later.
 */
export function answerStream (payload: unknown, reply: FastifyReply): Readable | null {
  if (payload instanceof Readable) return payload
  if (payload instanceof globalThis.ReadableStream) return Readable.fromWeb(payload)
  if (!(payload instanceof Response)) return null
  void reply.code(payload.status)
  for (const [name, value] of payload.headers) void reply.header(name, value)
  return payload.body === null ? null : Readable.fromWeb(payload.body)
}
