import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, truncateSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openIdentities } from '../../src/audit/identities.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { recordsIn } from '../helpers/guard.ts'
import { randomOf } from '../helpers/random.ts'

const kills = Number(process.env['KILLS'] ?? 25)
// The same seed kills at the same moments again, as far as the machine does the same.
const seed = process.env['SEED'] ?? randomBytes(8).toString('hex')
const program = path.join(import.meta.dirname, '..', 'helpers', 'log-child.js')

interface Child {
  readonly process: ChildProcess
  readonly url: string
  readonly verifierKey: string
}

async function start (folder: string, command = process.execPath, args: readonly string[] = []): Promise<Child> {
  const child = spawn(command, [...args, program, folder], { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const [line] = await once(createInterface(child.stdout), 'line') as [string]
  return { process: child, ...JSON.parse(line) as { url: string, verifierKey: string } }
}

interface Load {
  /** What was answered, by the id of its request. */
  readonly answered: Map<string, string>
  readonly over: Promise<unknown>
}

/** Clients that ask until the server is gone. */
function ask (url: string, clients: number): Load {
  const answered = new Map<string, string>()
  const client = async (): Promise<void> => {
    for (;;) {
      const body = JSON.stringify({ n: randomUUID() })
      const response = await fetch(`${url}/echo`, { method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Any one' }, body })
      if (await response.text() === body) answered.set(body, response.headers.get('x-request-id') ?? '')
    }
  }
  return { answered, over: Promise.allSettled(Array.from({ length: clients }, client)) }
}

async function kill (child: Child, load: Load): Promise<void> {
  // The whole group: under strace the server is not the process that was spawned.
  process.kill(-(child.process.pid ?? 0), 'SIGKILL')
  await once(child.process, 'exit')
  await load.over
}

async function digestsOf (folder: string, bodies: Iterable<string>): Promise<string[]> {
  const identities = await openIdentities({ file: path.join(folder, 'identities.jsonl') })
  const { digests } = identities.principal('ann')
  await identities.close()
  return Array.from(bodies, (body) => digests.digest('input', body))
}

t.test('after kill -9 at random moments no answered request lacks its record, and the log verifies', { timeout: 300_000 + kills * 5000 }, async (t) => {
  t.comment(`seed ${seed}`)
  const random = randomOf(seed)
  const folder = t.testdir()
  const bodies: string[] = []
  let verifierKey = ''
  for (let round = 0; round < kills; round++) {
    const child = await start(folder)
    const load = ask(child.url, 16)
    await setTimeout(30 + random.below(220))
    await kill(child, load)
    bodies.push(...load.answered.keys())
    verifierKey = child.verifierKey
    const report = await verifyLog({ directory: path.join(folder, 'audit'), verifierKey })
    t.match(report, { problems: [] }, `round ${round}: ${bodies.length} answers so far`)
  }
  const recorded = new Set(recordsIn(folder).map((record) => record['input_hash']))
  const missing = (await digestsOf(folder, bodies)).filter((digest) => !recorded.has(digest))
  t.same(missing, [])
  t.ok(bodies.length > 10 * kills, `${bodies.length} answers`)
})

/** One system call of interest, in the order of the trace. */
interface Call {
  readonly kind: 'line' | 'sync-begins' | 'sync-ends' | 'answer'
  readonly text: string
}

const strace = await once(spawn('strace', ['-V'], { stdio: 'ignore' }), 'exit').then(() => true, () => false)

t.test('an answer is written after the fdatasync that covers its record, and needs no byte that was not synced', { skip: !strace && 'strace is not installed' }, async (t) => {
  const folder = t.testdir()
  const trace = path.join(folder, 'trace')
  const child = await start(folder, 'strace', ['-f', '-y', '-qq', '-s', '100000', '-e', 'trace=write,writev,pwrite64,pwritev,fdatasync,fsync', '-o', trace, process.execPath])
  const load = ask(child.url, 8)
  await setTimeout(1500)
  await kill(child, load)
  const calls = readTrace(trace)
  t.ok(checkOrder(t, calls) >= load.answered.size, `${load.answered.size} answers in order`)
  t.ok(load.answered.size > 10)

  // What a power cut leaves: only what was synced before it.
  const synced = syncedLines(calls)
  const segments = path.join(folder, 'audit', 'segments')
  const newest = path.join(segments, readdirSync(segments).sort().at(-1) ?? '')
  const kept = readFileSync(newest, 'utf8').split('\n').filter((line) => synced.has(requestId(line)) || !line.includes('"request_id"'))
  truncateSync(newest, Math.min(statSync(newest).size, Buffer.byteLength(kept.join('\n'))))
  const again = await start(folder)
  process.kill(-(again.process.pid ?? 0), 'SIGKILL')
  await once(again.process, 'exit')
  const recorded = new Set(recordsIn(folder).map((record) => record['input_hash']))
  t.same((await digestsOf(folder, load.answered.keys())).filter((digest) => !recorded.has(digest)), [])
  t.match(await verifyLog({ directory: path.join(folder, 'audit'), verifierKey: again.verifierKey }), { ok: true })
})

function requestId (text: string): string {
  return /"request_id":"([^"]+)"/.exec(text)?.[1] ?? ''
}

/** Writes and syncs of the segment, and answers, in the order in which they began and ended. */
function readTrace (file: string): Call[] {
  const calls: Call[] = []
  const syncing = new Set<string>()
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [, thread = '', call = ''] = /^(\d+)\s+(.*)$/.exec(line) ?? []
    const [, name = ''] = /^(\w+)\(\d+<[^>]*\/segments\/\d+\.jsonl>/.exec(call) ?? []
    if (name === 'fdatasync') {
      calls.push({ kind: 'sync-begins', text: '' })
      if (call.endsWith('= 0')) calls.push({ kind: 'sync-ends', text: '' })
      else syncing.add(thread)
    } else if (call.startsWith('<... fdatasync resumed>') && syncing.delete(thread)) {
      calls.push({ kind: 'sync-ends', text: '' })
    } else if (name !== '') {
      for (const record of call.split('\\n')) calls.push({ kind: 'line', text: requestId(record.replaceAll('\\"', '"')) })
    } else if (call.includes('HTTP/1.1 200')) {
      for (const [, id = ''] of call.matchAll(/x-request-id: ([^\\]+)\\r/g)) calls.push({ kind: 'answer', text: id })
    }
  }
  return calls
}

/** Fails for every answer whose record was not synced by then; gives the number of answers. */
function checkOrder (t: Test, calls: readonly Call[]): number {
  const { answers, early } = follow(calls)
  t.same(early, [])
  return answers
}

/** Records covered by a sync that ended. */
function syncedLines (calls: readonly Call[]): Set<string> {
  return follow(calls).synced
}

function follow (calls: readonly Call[]): { answers: number, early: string[], synced: Set<string> } {
  const written = new Set<string>()
  const synced = new Set<string>()
  const early: string[] = []
  let covered: string[] = []
  let answers = 0
  for (const { kind, text } of calls) {
    if (kind === 'line') written.add(text)
    if (kind === 'sync-begins') covered = [...written]
    if (kind === 'sync-ends') for (const id of covered) synced.add(id)
    if (kind === 'answer') {
      answers++
      if (!synced.has(text)) early.push(text)
    }
  }
  return { answers, early, synced }
}
