import { Transform, type Readable } from 'node:stream'
import type { DigestCheck } from '../authn/content-digest.ts'

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
