import type { OnProgress } from '../model/progress.ts'

/** Where progress is shown: standard error, so that the outcome stays alone on standard output. */
export interface ProgressStream {
  readonly isTTY?: boolean
  write (text: string): unknown
}

/** Files below this are done before anybody has read of them. */
const leastBytes = 64 * 1024 * 1024
const everyMs = 10_000
const megabyte = 1_000_000

/**
 * Shows how far a large file is: on a terminal in one line that goes away, else in a line every ten seconds.
 * @param verb what is done, for instance `sealing`.
 * @param now milliseconds, of any beginning.
 */
export function showProgress (verb: string, stream?: ProgressStream, now?: () => number): OnProgress {
  const show = lineShower(stream, now)
  return ({ name, bytes, totalBytes }) => {
    if (totalBytes < leastBytes) return
    show(`${verb} ${name}: ${Math.floor(bytes / megabyte)} of ${Math.floor(totalBytes / megabyte)} MB (${Math.floor(bytes / totalBytes * 100)} %)`, bytes === totalBytes)
  }
}

/** Shows in the same way how many of several things are done. */
export function showCount (verb: string, things: string, stream?: ProgressStream, now?: () => number): (progress: { readonly done: number, readonly total: number }) => void {
  const show = lineShower(stream, now)
  return ({ done, total }) => { show(`${verb}: ${done} of ${total} ${things}`, done === total) }
}

function lineShower (stream: ProgressStream = process.stderr, now: () => number = () => performance.now()): (line: string, isDone: boolean) => void {
  let last = now()
  return (line, isDone) => {
    if (stream.isTTY === true) stream.write(isDone ? '\r\x1b[K' : `\r${line}\x1b[K`)
    else if (now() - last >= everyMs) {
      last = now()
      stream.write(`${line}\n`)
    }
  }
}
