import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, appendAll, openTestLog, readRecords, record, segmentNames, verifierKey } from './log-fixture.ts'

interface Appending {
  readonly child: ChildProcess
  /** What it was told of each record so far: a seq or `refused`, and the record's number. */
  readonly told: string[]
  /** Resolves when so many of these have come. */
  readonly until: (enough: (told: readonly string[]) => boolean) => Promise<void>
  readonly kill: () => Promise<void>
}

function startAppending (directory: string, from: number): Appending {
  const child = spawn(process.execPath, [new URL('./log-child.js', import.meta.url).pathname, directory, String(from)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const told: string[] = []
  let rest = ''
  const ended = new AbortController()
  child.once('exit', (code, signal) => { ended.abort(new Error(`it ended by itself with ${code ?? signal}`)) })
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    told.push(...lines)
  })
  return {
    child,
    told,
    async until (enough) {
      while (!enough(told)) await once(child.stdout, 'data', { signal: ended.signal })
    },
    async kill () {
      child.kill('SIGKILL')
      // Everything that was told has been read when the pipe ends.
      await once(child, 'close')
    }
  }
}

/** Records that were acknowledged under a number where another record stands, or none. */
function lost (told: readonly string[], records: ReturnType<typeof readRecords>): string[] {
  return told.filter((line) => {
    const [seq = '', number = ''] = line.split(' ')
    return seq !== 'refused' && records[Number(seq)]?.request_id !== `request-${number}`
  })
}

t.test('a log killed again and again under load keeps every record that was acknowledged', async (t) => {
  const directory = t.testdir()
  const told: string[] = []
  for (let round = 0; round < 6; round++) {
    const appending = startAppending(directory, round * 1_000_000)
    await appending.until(({ length }) => length > 100 + 177 * round)
    await appending.kill()
    told.push(...appending.told)
  }
  await (await openTestLog(directory)).close()
  const records = readRecords(directory)
  t.same(records.map(({ seq }) => seq), Array.from({ length: records.length }, (_, seq) => seq))
  t.ok(told.length > 3000)
  t.same(lost(told, records), [])
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, problems: [], size: records.length, checkpointSize: records.length })
})

t.test('a disk that takes no more refuses every record, and when it does again the log goes on by itself', async (t) => {
  if (!existsSync('/usr/bin/prlimit')) {
    t.comment('skipped: no prlimit to set a limit of a running process with')
    return
  }
  const directory = t.testdir()
  const { child, told, until, kill } = startAppending(directory, 0)
  await until(({ length }) => length > 100)
  // The kernel's own limit of a file's size: a write stops in the middle of a line, as on a full disk.
  await limitFiles(child, '300')
  await until((told) => told.filter((line) => line.startsWith('refused')).length > 40)
  await limitFiles(child, 'unlimited')
  const before = told.length
  await until((told) => told.slice(before).filter((line) => !line.startsWith('refused')).length > 100)
  await kill()
  await (await openTestLog(directory)).close()
  const records = readRecords(directory)
  t.same(lost(told, records), [])
  const refused = new Set(told.filter((line) => line.startsWith('refused')).map((line) => `request-${line.split(' ')[1] ?? ''}`))
  t.same(records.filter(({ request_id: id }) => refused.has(id ?? '')), [], 'no refused record is in the log')
  t.ok(records.some(({ reason }) => reason === 'write-failed'), 'and the outage is')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, problems: [], size: records.length })
})

async function limitFiles (child: ChildProcess, bytes: string): Promise<void> {
  const prlimit = spawn('/usr/bin/prlimit', ['--pid', String(child.pid), `--fsize=${bytes}:unlimited`], { stdio: 'inherit' })
  await once(prlimit, 'exit')
}

t.test('a log cut at any byte of its last records loses those, and nothing else', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory, { maxSegmentBytes: 300 })
  for (let index = 0; index < 9; index++) await append(log, record(index))
  await log.checkpoint()
  const checkpoint = readFileSync(path.join(directory, 'checkpoint'))
  await appendAll(log, 9, 11)
  await log.close()
  // Those behind the checkpoint: a crash may have torn them.
  writeFileSync(path.join(directory, 'checkpoint'), checkpoint)
  const whole = readFileSync(lastSegment(directory))
  const second = whole.indexOf(10) + 1
  const copy = path.join(t.testdirName, 'copy')
  for (const length of [0, 1, second - 2, ...Array.from({ length: whole.length - second + 2 }, (_, index) => second - 1 + index)]) {
    rmSync(copy, { recursive: true, force: true })
    cpSync(directory, copy, { recursive: true })
    truncateSync(lastSegment(copy), length)
    const left = whole.subarray(0, length)
    const problem = await problemAfterCut(copy, 9 + left.filter((byte) => byte === 10).length, length - (left.lastIndexOf(10) + 1))
    if (problem !== undefined) t.fail(`cut to ${length}: ${problem}`)
  }
})

async function problemAfterCut (directory: string, size: number, torn: number): Promise<string | undefined> {
  const before = await verifyLog({ directory, verifierKey })
  if (!before.ok || before.size !== size || before.tornBytes !== torn) return `${JSON.stringify(before)} before it was opened`
  const opened = await sizeWhenOpened(directory)
  if (opened !== size + (torn > 0 ? 1 : 0)) return `opened with ${opened}`
  const last = readRecords(directory).at(-1)
  if (torn > 0 && (last?.action !== 'log:recover' || last.detail?.bytes !== torn)) return `${JSON.stringify(last)} is not the record of the cut`
  const after = await verifyLog({ directory, verifierKey })
  return after.ok && after.checkpointSize === opened ? undefined : JSON.stringify(after)
}

function lastSegment (directory: string): string {
  return path.join(directory, 'segments', segmentNames(directory).at(-1) ?? '')
}

async function sizeWhenOpened (directory: string): Promise<number> {
  const log = await openTestLog(directory)
  const { size } = log
  await log.close()
  return size
}
