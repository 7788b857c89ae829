import { Readable, Transform } from 'node:stream'
import { finished } from 'node:stream/promises'
import { badUpload } from '../authn/bad-upload.ts'
import type { DigestCheck } from '../authn/content-digest.ts'
import { isGuardError } from '../errors.ts'

/**
 * A stream of what passes through another, whose end comes only where the whole is what it should be: a reader sees an error in its place.
 * @param refuse is told of a whole that is not, and how to go on: with an error, or without one as if it were.
 */
export function checkedBody (body: Readable, check: DigestCheck, refuse: (done: (error?: Error) => void) => void): Readable {
  const checked = new Transform({
    transform (chunk: Buffer, _encoding, done) {
      check.update(chunk)
      done(null, chunk)
    },
    flush (done) {
      if (check.isMatch()) done()
      else refuse(done)
    }
  })
  // Who refused the upload earlier, as too large for instance, reads it no more, and nobody would hear of its end.
  checked.on('error', () => {})
  // What breaks off is not piped: without this its reader would wait for good.
  body.once('close', () => { if (!body.readableEnded) checked.destroy(new Error('the upload broke off')) })
  body.once('error', (error) => { checked.destroy(error) })
  return body.pipe(checked)
}

/**
 * A stream made of a checked body, by what decompresses it for instance, whose end comes only after the end of that: a decompressor ends where it thinks that it has
 * all, and leaves the rest unread.
 */
export function heldBack (made: Readable, checked: Readable, maxBytes: number): Readable {
  // What only pipes hands no error on: without this its reader would wait for good.
  checked.once('error', (error) => { made.destroy(error) })
  const held = Readable.from((async function * () {
    yield * made
    await allPassed(checked, maxBytes)
  })())
  // Both may fail before, or after, anybody reads them.
  for (const stream of [made, held]) stream.on('error', () => {})
  return held
}

/**
 * Reads and drops what its reader left of a checked body.
 * @throws FMG_ERR_UPLOAD_INVALID where the whole is not what it should be, breaks off, or goes on for more than `maxBytes`.
 */
export async function allPassed (checked: Readable, maxBytes: number): Promise<void> {
  let left = maxBytes
  const drop = (chunk: Buffer): void => {
    left -= chunk.length
    if (left < 0) checked.destroy(badUpload('content-unread', 'the content goes on long after its reader had enough'))
    // Whatever it is piped to may be full for good; to unpipe would end that as if it had all.
    else checked.resume()
  }
  checked.on('data', drop).resume()
  await finished(checked).catch((error: unknown) => { throw isGuardError(error) ? error : badUpload('content-unread', 'the content was not read to its end') })
}
