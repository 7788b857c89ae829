// Appends without end and mirrors what it appends, until it is killed.
//   node sink-child.js FOLDER REDIS-URL|FILE
import path from 'node:path'
import { Redis } from 'ioredis'
import { followLog } from '../../src/audit/follow-log.ts'
import { pinoTransportSink } from '../../src/audit/pino-transport-sink.ts'
import { redisStreamSink } from '../../src/audit/redis-stream-sink.ts'
import { openTestLog, record } from './log-fixture.ts'

const [folder = '', target = ''] = process.argv.slice(2)
const log = await openTestLog(path.join(folder, 'log'), { checkpointIntervalMs: 5, maxSegmentBytes: 20_000 })
const sink = target.startsWith('redis:')
  ? redisStreamSink({ client: new Redis(target), key: 'audit' })
  : await pinoTransportSink({ target: 'pino/file', options: { destination: target } })
const follower = await followLog({ log, sink, positionFile: path.join(folder, 'position.json'), maxLines: 50 })
let index = log.size

function appendNext (): void {
  log.append(record(index++), () => {
    // Lets the sink keep up, so that there is something to interrupt.
    if (log.size - follower.next < 200) appendNext()
    else setTimeout(appendNext, 1)
  })
}

for (let waiter = 0; waiter < 10; waiter++) appendNext()
const told = setInterval(() => {
  process.stdout.write(`${follower.next}\n`)
}, 5)
told.ref()
