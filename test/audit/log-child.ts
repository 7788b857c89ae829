import { writeSync } from 'node:fs'
import { openTestLog, record } from './log-fixture.ts'

/**
 * A process that appends as fast as it can and says of each record what it was told: `<seq> <number>` or `refused <number>`,
 * a line each, in a pipe that outlives it. Its end is a signal.
 */
// What exceeds a limit of file size is an error to be answered, also where a loader has made that signal the end.
process.on('SIGXFSZ', () => {})
const [directory = '', start = '0'] = process.argv.slice(2)
const log = await openTestLog(directory, { checkpointIntervalMs: 5, maxSegmentBytes: 20_000 })
let next = Number(start)

/** Of whoever reads too slowly is waited for: what is not told would count as never acknowledged. */
function tell (text: string): void {
  for (;;) {
    try {
      writeSync(1, text)
      return
    } catch (error) {
      if (Reflect.get(Object(error), 'code') !== 'EAGAIN') throw error
    }
  }
}

function appendNext (): void {
  const number = next++
  log.append(record(number), (error, seq) => {
    tell(error === null ? `${seq} ${number}\n` : `refused ${number}\n`)
    if (error === null) appendNext()
    // What fails is tried again, but lets a full disk be.
    else setTimeout(appendNext, 1)
  })
}

for (let waiter = 0; waiter < 20; waiter++) appendNext()
