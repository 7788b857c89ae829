import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { append, fileHandleMethods, openTestLog, record } from './log-fixture.ts'

const sizes = [1000, Number(process.env['RECORDS'] ?? 200_000)]
const batch = 20_000

/** Bytes that this process has asked the kernel for. */
function bytesRead (): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1])
}

t.test('a log is opened by what follows its last checkpoint, however long it is', { timeout: 3_000_000, skip: process.platform !== 'linux' && 'the kernel does not say what was read' }, async (t) => {
  // So many tiles: the disk's time is not what is tested.
  const syncing = t.intercept(await fileHandleMethods(), 'datasync', { value: async () => {} })
  for (const size of sizes) {
    const directory = path.join(t.testdir(), 'log')
    const log = await openTestLog(directory, { durability: 'async' })
    for (let index = 0; index < size; index++) {
      log.append(record(index), () => {})
      if (index % batch === batch - 1) await log.checkpoint()
    }
    await log.checkpoint()
    // Behind the checkpoint, as when the process is killed.
    const left = 700
    await log.close()
    const killed = await openTestLog(directory)
    await Promise.all(Array.from({ length: left }, async (_, index) => await append(killed, record(size + index))))
    const publishing = t.intercept(await fileHandleMethods(), 'sync', { value: async () => { throw new Error('killed') } })
    await t.rejects(killed.close(), { message: /killed/ })
    publishing.restore()
    const before = bytesRead()
    const [begun, used] = [performance.now(), process.cpuUsage()]
    const opened = await openTestLog(directory)
    const { user, system } = process.cpuUsage(used)
    const bytes = bytesRead() - before
    t.comment(`${size} records: opened after ${(performance.now() - begun).toFixed(0)} ms`)
    t.equal(opened.size, size + left)
    t.ok(bytes < 3_000_000, `${size} records: ${bytes} bytes were read`)
    // Not what passed on the clock, of which other tests take their share.
    t.ok(user + system < 1e6, `in ${((user + system) / 1000).toFixed(0)} ms of a processor`)
    await opened.close()
  }
  syncing.restore()
})
