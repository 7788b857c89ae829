import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Redis } from 'ioredis'
import t from 'tap'
import { followLog } from '../../src/audit/follow-log.ts'
import { pinoTransportSink, type PinoTransportSinkOptions } from '../../src/audit/pino-transport-sink.ts'
import { redisStreamSink } from '../../src/audit/redis-stream-sink.ts'
import type { LineBatch } from '../../src/audit/sink.ts'
import { startPrivateRedis } from '../../scripts/redis.js'
import { run } from '../helpers/command.ts'
import { connectRedis, keyPrefix } from '../helpers/redis.ts'
import { until } from '../helpers/until.ts'
import { append, appendAll, openTestLog, readLines, record, segmentNames } from './log-fixture.ts'

const batch = (firstSeq: number, ...lines: string[]): LineBatch => ({ origin: 'example.com/audit', firstSeq, lines })

interface Entry {
  readonly id: string
  readonly origin: string | undefined
  readonly line: string | undefined
}

async function entriesOf (client: Redis, key: string): Promise<Entry[]> {
  return (await client.xrange(key, '-', '+')).map(([id, [, origin, , line]]) => ({ id, origin, line }))
}

t.test('a stream holds each line once, under an id made of its seq, however often it is delivered', async (t) => {
  const client = connectRedis(t)
  const key = `${keyPrefix}stream`
  const sink = redisStreamSink({ client, key })
  await sink.deliver(batch(0, 'a', 'b'))
  await sink.deliver(batch(0, 'a', 'b'))
  await sink.deliver(batch(1, 'b', 'c'))
  t.same(await entriesOf(client, key), ['a', 'b', 'c'].map((line, seq) => ({ id: `${seq}-1`, origin: 'example.com/audit', line })))
  t.equal(await sink.deliver(batch(7, 'h')), 3, 'what it has lost, as after a failover, it wants again')
  await client.xdel(key, '2-1')
  await sink.deliver(batch(2, 'c', 'd'))
  t.same((await entriesOf(client, key)).map(({ line }) => line), ['a', 'b', 'd'], 'and what was taken out of it is not put back')
  await client.xdel(key, '3-1')
  t.equal(await sink.deliver(batch(4, 'e')), undefined, 'nor wanted again')
  await client.xtrim(key, 'MAXLEN', 0)
  t.equal(await sink.deliver(batch(5, 'f')), undefined)
  t.same((await entriesOf(client, key)).map(({ line }) => line), ['f'])
  const short = redisStreamSink({ client, key: `${key}-short`, maxLength: 100 })
  await short.deliver(batch(2 ** 50, ...Array.from({ length: 2000 }, (_, index) => `${index}`)))
  t.ok(await client.xlen(`${key}-short`) < 400)
  t.equal((await client.xrevrange(`${key}-short`, '+', '-', 'COUNT', 1))[0]?.[0], `${2 ** 50 + 1999}-1`)
  await sink.close()
})

t.test('a stream into which something else writes is refused', async (t) => {
  const client = connectRedis(t)
  for (const [name, fields] of [['log', ['origin', 'example.com/other', 'line', 'x']], ['thing', ['line', 'x']]] as const) {
    const key = `${keyPrefix}${name}`
    await client.xadd(key, '5-1', ...fields)
    await t.rejects(redisStreamSink({ client, key }).deliver(batch(6, 'a')), { code: 'FMG_ERR_OPTION_INVALID', message: /is not of the log example\.com\/audit/ })
    t.equal(await client.xlen(key), 1)
  }
  const key = `${keyPrefix}text`
  await client.set(key, 'x')
  await t.rejects(redisStreamSink({ client, key }).deliver(batch(0, 'a')), { message: /WRONGTYPE/ })
  t.throws(() => redisStreamSink({ client, key: '' }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a stream whose next lines are retired goes on with the first that are kept', async (t) => {
  const client = connectRedis(t)
  const key = `${keyPrefix}retired`
  const folder = t.testdir()
  const directory = path.join(folder, 'log')
  let now = 0
  const options = { clock: () => now, maxSegmentSeconds: 60, retainSeconds: 120, maxHoldSeconds: 0 }
  const log = await openTestLog(directory, options)
  const sink = redisStreamSink({ client, key })
  const errors: Error[] = []
  const follow = async (): ReturnType<typeof followLog> => await followLog({ log, sink, positionFile: path.join(folder, 'position.json'), onError: (error) => { errors.push(error) } })
  const add = async (from: number): Promise<void> => {
    await Promise.all(Array.from({ length: 300 }, async (_, index) => await append(log, { ...record(from + index), timestamp: new Date(now).toISOString() })))
  }
  await add(0)
  const first = await follow()
  await until(() => first.next === 300)
  await first.close()
  for (now = 100_000; now <= 900_000; now += 100_000) await add(3 * now / 1000)
  await log.checkpoint()
  await until(() => !segmentNames(directory).some((name) => Number(name.slice(0, 20)) <= 300))
  const second = await follow()
  await until(() => second.next === log.size)
  await second.close()
  await log.close()
  t.match(errors, [{ reason: 'sink-too-late' }], 'which is told once')
  const kept = readLines(directory)
  t.ok(kept.length >= 300)
  t.same((await entriesOf(client, key)).map(({ line }) => line).slice(-kept.length), kept)
})

/** Runs the child until its sink is so far, and kills it. */
async function runAndKill (folder: string, target: string, more: number): Promise<number> {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, 'sink-child.js'), folder, target], { stdio: ['ignore', 'pipe', 'inherit'] })
  let first: number | undefined
  let next = 0
  for await (const line of createInterface(child.stdout)) {
    next = Number(line)
    first ??= next
    if (next > first + more) break
  }
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return next
}

t.test('processes that are killed again and again leave out no line of a stream, and double none', { timeout: 120_000 }, async (t) => {
  const redis = await startPrivateRedis()
  t.teardown(redis.stop)
  const folder = t.testdir()
  for (const more of [100, 333, 50, 700]) await runAndKill(folder, redis.url, more)
  const client = connectRedis(t, redis.url)
  const log = await openTestLog(path.join(folder, 'log'))
  const follower = await followLog({ log, sink: redisStreamSink({ client, key: 'audit' }), positionFile: path.join(folder, 'position.json') })
  await until(() => follower.next === log.size)
  await follower.close()
  await log.close()
  t.same((await entriesOf(client, 'audit')).map(({ line }) => line), readLines(path.join(folder, 'log')))
})

t.test('a Redis that is killed and comes back has lost no line, and doubled none', { timeout: 120_000 }, async (t) => {
  const folder = t.testdir({ redis: {} })
  const durable = ['--dir', path.join(folder, 'redis'), '--appendonly', 'yes', '--appendfsync', 'always']
  const first = await startPrivateRedis(undefined, durable)
  const client = connectRedis(t, first.url, { retryStrategy: () => 20, maxRetriesPerRequest: 0 })
  const log = await openTestLog(path.join(folder, 'log'))
  const errors: Error[] = []
  const follower = await followLog({
    log, sink: redisStreamSink({ client, key: 'audit' }), positionFile: path.join(folder, 'position.json'), retryMs: 5, maxLines: 20, onError: (error) => { errors.push(error) }
  })
  let index = 0
  const add = async (count: number): Promise<void> => {
    await appendAll(log, index, index + count)
    index += count
  }
  await add(300)
  await until(() => follower.next > 100)
  process.kill(first.pid, 'SIGKILL')
  await add(300)
  await until(() => errors.length > 0)
  const second = await startPrivateRedis(first.port, durable)
  t.teardown(second.stop)
  await add(10)
  await until(() => follower.next === 610)
  await follower.close()
  await log.close()
  t.same((await entriesOf(client, 'audit')).map(({ line }) => line), readLines(path.join(folder, 'log')))
})

async function pinoTo (file: string, more: Partial<PinoTransportSinkOptions> = {}): ReturnType<typeof pinoTransportSink> {
  return await pinoTransportSink({ target: 'pino/file', options: { destination: file }, ...more })
}

t.test('a pino transport gets the lines as they are', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'mirror.jsonl')
  const sink = await pinoTo(file)
  t.equal(sink.overlap, 10_000)
  const log = await openTestLog(path.join(folder, 'log'))
  await appendAll(log, 0, 700)
  const follower = await followLog({ log, sink, positionFile: path.join(folder, 'position.json') })
  await until(() => follower.next === 700)
  await append(log, record(700))
  await until(() => follower.next === 701)
  await follower.close()
  await log.close()
  t.same(readFileSync(file, 'utf8').split('\n').slice(0, -1), readLines(path.join(folder, 'log')))
  t.same(JSON.parse(readFileSync(path.join(folder, 'position.json'), 'utf8')), { origin: log.origin, next: 0 }, 'where it goes on lags by what a worker may lose')
  await (await pinoTo(file)).close()
})

t.test('processes that are killed leave out no line behind a pino transport', { timeout: 120_000 }, async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'mirror.jsonl')
  for (const more of [200, 500]) await runAndKill(folder, file, more)
  const log = await openTestLog(path.join(folder, 'log'))
  const follower = await followLog({ log, sink: await pinoTo(file), positionFile: path.join(folder, 'position.json') })
  await until(() => follower.next === log.size)
  await follower.close()
  await log.close()
  const mirrored = new Set(readFileSync(file, 'utf8').split('\n'))
  t.same(readLines(path.join(folder, 'log')).filter((line) => !mirrored.has(line)), [])
})

t.test('a transport that fails or ends is a failure, and the next lines begin another', async (t) => {
  const folder = t.testdir()
  const module = path.join(folder, 'transport.mjs')
  const file = path.join(folder, 'out')
  writeFileSync(module, `
    import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
    import { Writable } from 'node:stream'
    export default ({ file }) => new Writable({
      write (chunk, encoding, done) {
        if (!existsSync(file + '.failed')) { writeFileSync(file + '.failed', ''); throw new Error('the collector is gone') }
        appendFileSync(file, chunk)
        done()
      }
    })`)
  const sink = await pinoTransportSink({ target: module, options: { file }, overlap: 5 })
  t.equal(sink.overlap, 5)
  const log = await openTestLog(path.join(folder, 'log'))
  const errors: Error[] = []
  const follower = await followLog({ log, sink, positionFile: path.join(folder, 'position.json'), retryMs: 5, onError: (error) => { errors.push(error) } })
  await append(log, record(0))
  await until(() => errors.length > 0 || follower.next === 1)
  for (let index = 1; index < 400 && !existsSync(file); index++) {
    await append(log, record(index))
    await until(() => follower.next === index + 1)
  }
  t.ok(errors.length > 0)
  await follower.close()
  await log.close()
  await t.rejects(pinoTransportSink({ target: '' }), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects((await pinoTransportSink({ target: path.join(folder, 'none.mjs') })).deliver(batch(0, 'a')))
})

t.test('what a transport had taken when it died is delivered again', async (t) => {
  const folder = t.testdir()
  const module = path.join(folder, 'transport.mjs')
  const file = path.join(folder, 'out')
  writeFileSync(module, `
    import { appendFileSync, existsSync, writeFileSync } from 'node:fs'
    import { Writable } from 'node:stream'
    export default ({ file }) => {
      const fails = !existsSync(file + '.failed')
      writeFileSync(file + '.failed', '')
      // Takes the first lines into its memory, and ends before they are anywhere else.
      return new Writable({
        write (chunk, encoding, done) {
          if (!fails) appendFileSync(file, chunk)
          else setTimeout(() => { throw new Error('the collector is gone') }, 50)
          done()
        }
      })
    }`)
  const sink = await pinoTransportSink({ target: module, options: { file } })
  const log = await openTestLog(path.join(folder, 'log'))
  const errors: Error[] = []
  const follower = await followLog({ log, sink, positionFile: path.join(folder, 'position.json'), retryMs: 5, onError: (error) => { errors.push(error) } })
  await appendAll(log, 0, 20)
  await until(() => follower.next === 20)
  for (let index = 20; index < 400 && !existsSync(file); index++) {
    await append(log, record(index))
    await until(() => follower.next === index + 1)
  }
  await follower.close()
  await log.close()
  t.ok(errors.length > 0)
  const mirrored = new Set(readFileSync(file, 'utf8').split('\n'))
  t.same(readLines(path.join(folder, 'log')).filter((line) => !mirrored.has(line)), [])
})

t.test('a transport says when pino is missing', async (t) => {
  const folder = t.testdir({
    'hide.mjs': "import { register } from 'node:module'\nregister('data:text/javascript,' + encodeURIComponent(`export function resolve (name, context, next) { if (name === 'pino') throw new Error('hidden'); return next(name, context) }`))\n",
    'open.mjs': `import { pinoTransportSink } from '${new URL('../../src/audit/pino-transport-sink.js', import.meta.url).href}'\nawait pinoTransportSink({ target: 'pino/file' }).catch(({ message }) => { console.log(message) })\n`
  })
  const { stdout } = await run(process.execPath, ['--import', path.join(folder, 'hide.mjs'), path.join(folder, 'open.mjs')])
  t.equal(stdout, 'option invalid: a pino transport needs the package pino: npm install pino\n')
})
