// Opens a sealed model, starts it and runs it once, in a process of its own, and says what that took.
//   node large-child.js BUNDLE WRAPPING-KEY PUBLIC-PEM ROWS
import { createPublicKey } from 'node:crypto'
import { openSync, readSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { openModel } from '../../src/model/open-model.ts'
import { startSession } from '../../src/model/session.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { ones } from './large-model.ts'

/** What it says, as JSON. */
export interface LargeRun {
  /** The most memory this process had at any time, the runtime's own included (proc(5), VmHWM). */
  readonly peakBytes: number
  /** The longest time between two turns of the main thread's event loop, less the millisecond that a timer takes. */
  readonly delayMs: number
  /** The most that the main thread computed between two turns: what it delays by itself, whoever else has the cores. */
  readonly turnMs: number
  readonly openMs: number
  readonly startMs: number
  readonly runMs: number
  /** Every output, in base64. */
  readonly outputs: Readonly<Record<string, string>>
}

const [directory = '', wrappingKey = '', publicKey = '', rows = ''] = process.argv.slice(2)
const input = ones(Number(rows))
const keys = [await keyFromFile(wrappingKey)]
const trust = { keys: [createPublicKey(await readFile(publicKey))], authorities: [] }
const delays = watchEventLoop()
const opened = await timed(async () => await openModel({ directory, keys, trust, expectName: 'large' }))
const session = await timed(async () => await startSession(opened.result, { queueLimit: 1, timeoutMs: 600_000 }))
const ran = await timed(async () => await session.result.run({ x: { datatype: 'FP32', shape: [1, Number(rows)], data: input } }))
const { delayMs, turnMs } = delays.stop()
const [, peakKb = ''] = /VmHWM:\s+(\d+) kB/.exec(await readFile('/proc/self/status', 'utf8')) ?? []
const run: LargeRun = {
  peakBytes: Number(peakKb) * 1024,
  delayMs,
  turnMs,
  openMs: opened.tookMs,
  startMs: session.tookMs,
  runMs: ran.tookMs,
  outputs: Object.fromEntries(Object.entries(ran.result.outputs).map(([name, { data }]) => [name, data instanceof Uint8Array ? Buffer.from(data).toString('base64') : '']))
}
console.log(JSON.stringify(run))
await session.result.close()

async function timed<T> (work: () => Promise<T>): Promise<{ readonly result: T, readonly tookMs: number }> {
  const start = performance.now()
  const result = await work()
  return { result, tookMs: performance.now() - start }
}

function watchEventLoop (): { stop (): Pick<LargeRun, 'delayMs' | 'turnMs'> } {
  // proc(5), schedstat: the first figure is how many nanoseconds the main thread had a core.
  const schedstat = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  const text = Buffer.alloc(128)
  const read = (): { at: number, onCore: number } => ({ at: performance.now(), onCore: parseInt(text.toString('latin1', 0, readSync(schedstat, text, 0, text.length, 0))) / 1e6 })
  const longest = { delayMs: 0, turnMs: 0 }
  let last = read()
  const timer = setInterval(() => {
    const now = read()
    longest.delayMs = Math.max(longest.delayMs, now.at - last.at - 1)
    longest.turnMs = Math.max(longest.turnMs, now.onCore - last.onCore)
    last = now
  }, 1)
  return {
    stop: () => {
      clearInterval(timer)
      return longest
    }
  }
}
