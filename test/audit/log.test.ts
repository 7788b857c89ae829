import { generateKeyPairSync } from 'node:crypto'
import fs, { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { openCheckpoint, type Checkpoint } from '../../src/audit/checkpoint.ts'
import { openIdentities } from '../../src/audit/identities.ts'
import { openLog } from '../../src/audit/log.ts'
import { parseVerifierKey } from '../../src/audit/note.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { append, appendAll, fileHandleMethods, isLocked, openTestLog, optionsFor, readRecords, record, segmentNames, signer, verifierKey } from './log-fixture.ts'

const unavailable = { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }

function readCheckpoint (directory: string): Checkpoint {
  return openCheckpoint(readFileSync(path.join(directory, 'checkpoint')), parseVerifierKey(verifierKey))
}

t.test('records get gapless numbers, in order, and are on disk when their caller is told', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  t.equal(log.size, 0)
  t.same(await appendAll(log, 0, 100), Array.from({ length: 100 }, (_, index) => index))
  t.equal(log.size, 100)
  t.same(readRecords(directory), Array.from({ length: 100 }, (_, index) => ({ ...record(index), seq: index })))
  t.equal(await append(log, record(100)), 100)
  await log.close()
})

t.test('all that waits shares one write and one sync', async (t) => {
  const log = await openTestLog(t.testdir())
  const syncs = t.capture(fs, 'fdatasync', fs.fdatasync)
  const writes = t.capture(fs, 'write', fs.write)
  await appendAll(log, 0, 1000)
  t.equal(syncs().length, 1)
  t.equal(writes().length, 1)
  await Promise.all([append(log, record(0)), append(log, record(1)).then(async () => await append(log, record(2)))])
  t.equal(syncs().length, 2, 'and what comes meanwhile shares the next')
  await log.close()
})

t.test('turns that each bring more share a sync, but nothing waits for long, nor for the next turn', async (t) => {
  const log = await openTestLog(t.testdir())
  const syncs = t.capture(fs, 'fdatasync', fs.fdatasync)
  let now = 0
  t.intercept(performance, 'now', { value: () => now })
  const turns = async (count: number, passMs: number): Promise<number> => {
    const appended: Promise<number>[] = []
    await new Promise<void>((resolve) => {
      const turn = (): void => {
        if (appended.length === count) {
          resolve()
          return
        }
        setImmediate(turn)
        now += passMs
        appended.push(append(log, record(appended.length)))
      }
      turn()
    })
    await Promise.all(appended)
    return syncs().length
  }
  t.equal(await turns(20, 0), 1)
  t.equal(await turns(1, 0), 1)
  t.ok(await turns(20, 0.25) > 1, 'a millisecond is four of these turns')
  await log.close()
})

t.test('nobody is told before the sync has ended', async (t) => {
  const log = await openTestLog(t.testdir())
  const { fdatasync } = fs
  let told = false
  let toldAtSync: boolean | undefined
  t.intercept(fs, 'fdatasync', {
    value: (fd: number, callback: (error: NodeJS.ErrnoException | null) => void) => {
      fdatasync(fd, (error) => {
        toldAtSync = told
        callback(error)
      })
    }
  })
  await append(log, record(0)).then(() => { told = true })
  t.equal(toldAtSync, false)
  await log.close()
})

t.test('a checkpoint covers what was appended, and the log verifies', async (t) => {
  const directory = t.testdir()
  const published: number[] = []
  const log = await openTestLog(directory, { onCheckpoint: ({ size }) => published.push(size) })
  t.equal(log.verifierKey, verifierKey)
  t.equal(readCheckpoint(directory).size, 0, 'a new log begins with a checkpoint of nothing')
  log.append(record(0), () => {})
  const checkpoint = await log.checkpoint()
  t.equal(checkpoint.size, 1)
  t.same(readCheckpoint(directory), checkpoint)
  t.same(await log.checkpoint(), checkpoint, 'and is not signed again when nothing was added')
  await appendAll(log, 1, 600)
  const [first, second] = await Promise.all([log.checkpoint(), log.checkpoint()])
  t.same(first, second)
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 600, checkpointSize: 600 })
  t.equal(existsSync(path.join(directory, 'tile/0/000.p')), false, 'partial tiles go when the full one is there')
  t.ok(existsSync(path.join(directory, 'tile/entries/002.p/88')))
  await log.close()
  t.same(published, [0, 1, 600])
})

t.test('memory that is used again for new tiles changes nothing that was published', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  let size = 0
  const add = async (count: number): Promise<void> => {
    await appendAll(log, size, size + count)
    size += count
  }
  await add(20_000)
  for (let round = 0; round < 3; round++) {
    // Records go on coming, and fill tiles, while those before are written.
    const published = log.checkpoint()
    for (let group = 0; group < 10; group++) await add(300)
    await published
  }
  await log.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 29_000, checkpointSize: 29_000 })
})

t.test('tiles and checkpoint follow a record within the interval', async (t) => {
  const directory = t.testdir()
  const sizes: number[] = []
  let wake: (() => void) | undefined
  const log = await openTestLog(directory, { checkpointIntervalMs: 1, onCheckpoint: ({ size }) => { sizes.push(size); wake?.() } })
  for (let index = 0; index < 3; index++) {
    const published = new Promise<void>((resolve) => { wake = resolve })
    await append(log, record(index))
    await published
  }
  t.same(sizes, [0, 1, 2, 3])
  await log.close()
})

t.test('a log goes on where it was left', async (t) => {
  const directory = t.testdir()
  for (const from of [0, 1, 300, 511, 512, 513]) {
    const log = await openTestLog(directory)
    t.equal(log.size, from)
    const to = [1, 300, 511, 512, 513, 700].find((size) => size > from) ?? from
    await appendAll(log, from, to)
    await log.close()
    t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: to, checkpointSize: to })
  }
  t.same(readRecords(directory).map(({ seq, request_id: id }) => [seq, id]), Array.from({ length: 700 }, (_, index) => [index, `request-${index}`]))
  t.equal(segmentNames(directory).length, 1)
})

t.test('a segment that has grown enough is followed by one named by its first seq', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { maxSegmentBytes: 500 })
  for (let index = 0; index < 12; index++) await append(log, record(index))
  await log.close()
  t.same(segmentNames(directory), [0, 5, 10].map((seq) => `${String(seq).padStart(20, '0')}.jsonl`))
  const again = await openTestLog(directory, { maxSegmentBytes: 500 })
  t.equal(await append(again, record(12)), 12)
  await again.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 13 })
})

t.test('one process holds the folder', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await t.rejects(openTestLog(directory), { code: 'FMG_ERR_FILE', message: /in use by process/ })
  await log.close()
  t.notOk(isLocked(directory))
  await (await openTestLog(directory)).close()
})

t.test('only the owner may enter the folder', async (t) => {
  const directory = path.join(t.testdir(), 'audit')
  const log = await openTestLog(directory)
  await appendAll(log, 0, 1)
  await log.close()
  for (const name of ['', 'segments', 'tile', 'tile/entries/000.p']) t.equal(statSync(path.join(directory, name)).mode & 0o777, 0o700, name)
  for (const name of ['checkpoint', 'segments/00000000000000000000.jsonl', 'tile/0/000.p/1']) t.equal(statSync(path.join(directory, name)).mode & 0o777, 0o600, name)
})

t.test('after a failed sync everyone who waits is refused, and the next record goes to a new segment', async (t) => {
  const directory = t.testdir()
  const errors: Error[] = []
  const log = await openTestLog(directory, { onError: (error) => { errors.push(error) } })
  await appendAll(log, 0, 3)
  const { fdatasync } = fs
  const cause = Object.assign(new Error('EIO'), { code: 'EIO' })
  const waiting: Promise<number>[] = []
  const failing = t.intercept(fs, 'fdatasync', {
    value: (fd: number, callback: (error: NodeJS.ErrnoException | null) => void) => {
      // These gather while the sync is under way, and wait for a file that is no more.
      waiting.push(append(log, record(7)), append(log, record(8)))
      fdatasync(fd, () => { callback(cause) })
    }
  })
  const outcomes = await Promise.allSettled([append(log, record(3)), append(log, record(4))])
  t.match(outcomes, [{ status: 'rejected', reason: { ...unavailable, reason: 'audit-unwritable', cause } }, { status: 'rejected', reason: unavailable }])
  t.match(await Promise.allSettled(waiting), [{ status: 'rejected', reason: unavailable }, { status: 'rejected', reason: unavailable }])
  failing.restore()
  t.match(errors, [{ ...unavailable, cause }])
  t.equal(log.size, 3)
  t.equal(await append(log, record(5)), 3, 'numbers go on after what is in the log')
  await log.close()
  t.same(segmentNames(directory), ['00000000000000000000.jsonl', '00000000000000000003.jsonl'])
  t.match(readRecords(directory).slice(3), [
    { seq: 3, request_id: 'request-5' },
    { seq: 4, action: 'log:recover', status: 'error', reason: 'write-failed', count: 4 }
  ], 'and the outage is recorded with how many it cost')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 5 })
})

t.test('a checkpoint that is asked for while the disk fails covers what is durable', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await append(log, record(0))
  const failing = t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('EIO')) } })
  const refused = append(log, record(1))
  const checkpointed = log.checkpoint()
  await t.rejects(refused, unavailable)
  t.equal((await checkpointed).size, 1)
  failing.restore()
  await log.close()
})

t.test('a file that cannot be closed is no reason to keep the folder', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await append(log, record(0))
  const { close } = fs
  const failing = t.intercept(fs, 'close', { value: (fd: number, callback: (error: Error) => void) => { close(fd, () => { callback(new Error('EIO')) }) } })
  await t.rejects(log.close(), { message: 'EIO' })
  failing.restore()
  t.notOk(isLocked(directory))
})

t.test('a folder whose new names cannot be made durable gets no segment', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  const failing = t.intercept(await fileHandleMethods(), 'sync', { value: async () => { throw new Error('EIO') } })
  await t.rejects(append(log, record(0)), { ...unavailable, cause: { message: 'EIO' } })
  failing.restore()
  t.same(segmentNames(directory), [])
  t.equal(await append(log, record(1)), 0)
  await log.close()
})

t.test('a segment whose first write fails leaves nothing behind', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  for (const name of ['fdatasync', 'write', 'open'] as const) {
    const failing = t.intercept(fs, name, { value: (...given: unknown[]) => { (given.at(-1) as (error: Error) => void)(new Error(name)) } })
    await t.rejects(append(log, record(0)), unavailable)
    await t.rejects(append(log, record(0)), unavailable)
    failing.restore()
    t.same(segmentNames(directory), [])
  }
  t.equal(await append(log, record(1)), 0)
  await log.close()
  t.match(readRecords(directory), [{ request_id: 'request-1' }, { reason: 'write-failed', count: 6 }])
})

t.test('a file that cannot be put right is not written to', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  await append(log, record(0))
  const segment = path.join(directory, 'segments', segmentNames(directory)[0] ?? '')
  const failing = t.intercept(fs, 'fdatasync', {
    value: (fd: number, callback: (error: Error) => void) => {
      rmSync(segment)
      callback(new Error('gone'))
    }
  })
  await t.rejects(append(log, record(1)), unavailable)
  failing.restore()
  await t.rejects(append(log, record(2)), { ...unavailable, cause: { code: 'ENOENT' } })
  t.same(segmentNames(directory), [])
  await log.close()
})

t.test('a write that writes nothing is not tried for ever', async (t) => {
  const log = await openTestLog(t.testdir())
  const failing = t.intercept(fs, 'write', { value: (...given: unknown[]) => { (given.at(-1) as (error: null, count: number) => void)(null, 0) } })
  await t.rejects(append(log, record(0)), unavailable)
  failing.restore()
  t.equal(await append(log, record(0)), 0)
  await log.close()
})

t.test('a write in parts is continued', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  const { write } = fs
  t.intercept(fs, 'write', {
    value: (fd: number, bytes: Uint8Array, at: number, length: number, position: null, callback: () => void) => {
      write(fd, bytes, at, Math.min(7, length), position, callback)
    }
  })
  await appendAll(log, 0, 5)
  await log.close()
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: 5 })
})

t.test('more than may wait is refused at once, and what waits is not lost', async (t) => {
  const log = await openTestLog(t.testdir(), { maxWaitingUnits: 550 })
  const outcomes = await Promise.allSettled(Array.from({ length: 10 }, async (_, index) => await append(log, record(index))))
  const kept = outcomes.filter(({ status }) => status === 'fulfilled').length
  t.equal(kept, 5)
  t.match(outcomes.slice(kept), outcomes.slice(kept).map(() => ({ reason: { ...unavailable, reason: 'audit-overloaded' } })))
  t.equal(await append(log, record(0)), kept, 'and there is room again afterwards')
  await log.close()
})

t.test('a caller whose callback throws keeps no other caller waiting', async (t) => {
  const errors: Error[] = []
  const log = await openTestLog(t.testdir(), { onError: (error) => { errors.push(error) } })
  log.append(record(0), () => { throw new Error('mine') })
  log.append(record(1), () => { throw 'a string' as unknown as Error })
  t.equal(await append(log, record(2)), 2)
  await log.close()
  t.match(errors, [{ message: 'mine' }, { message: 'an append callback threw', cause: 'a string' }])
})

t.test('in async mode the caller is told at once, and the record follows', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { durability: 'async', maxWaitingUnits: 550 })
  const told: unknown[] = []
  for (let index = 0; index < 7; index++) log.append(record(index), (error, seq) => { told.push(error === null ? seq : error) })
  t.match(told, [0, 1, 2, 3, 4, { reason: 'audit-overloaded' }, { reason: 'audit-overloaded' }], 'and what waits is bounded')
  await log.checkpoint()
  t.same(readRecords(directory).map(({ seq }) => seq), [0, 1, 2, 3, 4])
  await log.close()
})

t.test('in async mode a failure loses nothing, and changes no number that was told', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { durability: 'async' })
  const told: number[] = []
  const add = (index: number): void => { log.append(record(index), (_, seq) => told.push(seq)) }
  add(0)
  await log.checkpoint()
  const { fdatasync } = fs
  const failing = t.intercept(fs, 'fdatasync', {
    value: (fd: number, callback: (error: Error) => void) => {
      add(told.length)
      fdatasync(fd, () => { callback(new Error('EIO')) })
    }
  })
  add(told.length)
  await t.rejects(log.checkpoint(), unavailable)
  add(told.length)
  await t.rejects(log.checkpoint(), unavailable)
  failing.restore()
  add(told.length)
  await log.close()
  const records = readRecords(directory)
  t.same(records.filter(({ action }) => action === 'predict').map(({ seq }) => seq), told)
  t.same(records.filter(({ action }) => action === 'predict').map(({ request_id: id }) => id), told.map((_, index) => `request-${index}`))
  t.equal(records.filter(({ reason }) => reason === 'write-failed').length, 1, 'and the outage is recorded once')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, size: records.length })
})

t.test('a pseudonym is durable before the first line that uses it', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'identities.jsonl')
  const identities = await openIdentities({ file })
  const log = await openTestLog(path.join(folder, 'audit'), { identities })
  const { write } = fs
  const known: boolean[] = []
  t.intercept(fs, 'write', {
    value: (...given: Parameters<typeof write>) => {
      known.push(readFileSync(file, 'utf8').includes('"ann"'))
      write(...given)
    }
  })
  await append(log, { ...record(0), user_id: identities.principal('ann').pseudonym })
  await append(log, { ...record(1), user_id: identities.principal('ann').pseudonym })
  t.same(known, [true, true])
  t.equal(identities.pending, false)
  await log.close()
  await identities.close()
})

t.test('a record whose pseudonym cannot be kept is refused', async (t) => {
  const folder = t.testdir()
  const map = path.join(folder, 'map')
  const identities = await openIdentities({ file: path.join(map, 'identities.jsonl') })
  await identities.forget(identities.principal('ann').pseudonym)
  const log = await openTestLog(path.join(folder, 'audit'), { identities })
  identities.principal('ann')
  rmSync(map, { recursive: true })
  writeFileSync(map, 'in the way')
  await identities.forget('ann').catch(() => {})
  identities.principal('bob')
  await t.rejects(append(log, record(0)), { ...unavailable, cause: unavailable })
  t.equal(log.size, 0)
  rmSync(map)
  mkdirSync(map)
  t.equal(await append(log, record(1)), 0)
  await log.close()
})

t.test('a closed log takes nothing, and closes once', async (t) => {
  const log = await openTestLog(t.testdir())
  const last = append(log, record(0))
  const closing = log.close()
  await t.rejects(append(log, record(1)), { ...unavailable, reason: 'audit-closed' })
  t.equal(await last, 0, 'what was accepted before is durable')
  t.equal(log.close(), closing)
  await closing
})

t.test('closing publishes what was accepted', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory)
  log.append(record(0), () => {})
  await log.close()
  t.equal(readCheckpoint(directory).size, 1)
})

t.test('a signer that fails keeps no record waiting, and is asked again', async (t) => {
  const directory = t.testdir()
  let failures = 0
  let published: ((size: number) => void) | undefined
  const errors: unknown[] = []
  // Retries keep no process alive.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => { clearInterval(alive) })
  const log = await openTestLog(directory, {
    checkpointIntervalMs: 1,
    onError: (error) => { errors.push(error) },
    onCheckpoint: ({ size }) => { if (size > 0) published?.(size) },
    signer: {
      publicKey: signer.publicKey,
      sign: async (data) => {
        if (failures-- > 0) throw failures === 1 ? new Error('unreachable') : 'no error at all' as unknown as Error
        return await signer.sign(data)
      }
    }
  })
  failures = 2
  const done = new Promise<number>((resolve) => { published = resolve })
  t.equal(await append(log, record(0)), 0)
  t.equal(await done, 1)
  t.match(errors, [{ message: 'unreachable' }, { message: 'publishing failed', cause: 'no error at all' }])
  await log.close()
})

t.test('a signature that does not verify is not published', async (t) => {
  const directory = t.testdir()
  let wrong = false
  const log = await openTestLog(directory, { signer: { publicKey: signer.publicKey, sign: async (data) => wrong ? Buffer.alloc(64) : await signer.sign(data) } })
  await append(log, record(0))
  wrong = true
  await t.rejects(log.checkpoint(), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  t.equal(readCheckpoint(directory).size, 0)
  await t.rejects(log.close(), { code: 'FMG_ERR_LOG_INCONSISTENT' })
  t.notOk(isLocked(directory), 'and the folder is let go all the same')
})

t.test('closing says what failed, whatever that is, and asks a failing signer no more', async (t) => {
  const directory = t.testdir()
  let refuse: ((reason: unknown) => void) | undefined
  let asked: (() => void) | undefined
  const errors: Error[] = []
  const log = await openTestLog(directory, {
    checkpointIntervalMs: 1,
    onError: (error) => { errors.push(error) },
    signer: {
      publicKey: signer.publicKey,
      sign: async (data) => {
        if (asked === undefined) return await signer.sign(data)
        asked()
        return await new Promise((resolve, reject) => { refuse = reject })
      }
    }
  })
  const signing = new Promise<void>((resolve) => { asked = resolve })
  await append(log, record(0))
  await signing
  const again = new Promise<void>((resolve) => { asked = resolve })
  const closing = log.close()
  refuse?.(new Error('first'))
  await again
  refuse?.('second')
  await t.rejects(closing, { message: 'closing failed', cause: 'second' })
  t.match(errors, [{ message: 'first' }])
  t.notOk(isLocked(directory))
})

t.test('a signer that hangs keeps closing for its time-out, and the folder locked', async (t) => {
  const directory = t.testdir()
  let hangs = false
  const log = await openTestLog(directory, {
    closeTimeoutMs: 20, signer: { publicKey: signer.publicKey, sign: async (data) => hangs ? await new Promise(() => {}) : await signer.sign(data) }
  })
  await append(log, record(0))
  hangs = true
  await t.rejects(log.close(), { message: /within 20 ms/ })
  t.ok(isLocked(directory))
  rmSync(path.join(directory, 'lock'))
})

t.test('a disk that hangs keeps closing for its time-out, and the folder locked', async (t) => {
  const directory = t.testdir()
  const log = await openTestLog(directory, { closeTimeoutMs: 20 })
  const hanging = t.intercept(fs, 'fdatasync', { value: () => {} })
  log.append(record(0), () => {})
  await t.rejects(log.close(), { message: /within 20 ms/ })
  t.ok(isLocked(directory))
  hanging.restore()
  rmSync(path.join(directory, 'lock'))
})

t.test('options are read strictly', async (t) => {
  const directory = t.testdir()
  for (const [name, value] of Object.entries({
    directory: '',
    origin: 'a b',
    signer: {},
    identities: {},
    durability: 'never',
    maxSegmentBytes: 0,
    checkpointIntervalMs: 0,
    maxWaitingUnits: 0,
    closeTimeoutMs: -1,
    clock: 1,
    onCheckpoint: 1,
    onError: 1,
    chekpointIntervalMs: 1
  })) {
    const options = { ...optionsFor(directory), [name]: value }
    await t.rejects(openLog(options), { code: 'FMG_ERR_OPTION_INVALID', message: new RegExp(`audit\\.${name}`) }, name)
  }
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  await t.rejects(openTestLog(directory, { signer: { publicKey, sign: async () => Buffer.alloc(64) } }), { code: 'FMG_ERR_OPTION_INVALID', message: /Ed25519/ })
})

t.test('failures are process warnings when nobody asked for them', async (t) => {
  const log = await openLog({ directory: t.testdir(), origin: 'a', signer, durability: 'before-response' })
  const warnings = t.capture(process, 'emitWarning', () => {})
  log.append(record(0), () => { throw new Error('mine') })
  await log.close()
  t.match(warnings(), [{ args: [{ message: 'mine' }] }])
})

t.test('a log that cannot begin lets go of its folder', async (t) => {
  const directory = t.testdir()
  await t.rejects(openTestLog(directory, { signer: { publicKey: signer.publicKey, sign: async () => { throw new Error('unreachable') } } }), { message: 'unreachable' })
  t.notOk(isLocked(directory))
  await (await openTestLog(directory)).close()
})
