import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { LogOptions } from '../../src/audit/log-options.ts'
import type { Checkpoint } from '../../src/audit/checkpoint.ts'
import { parseWitnessKey, readCosignatures } from '../../src/audit/cosignature.ts'
import { parseNote } from '../../src/audit/note.ts'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { verifyProof } from '../../src/audit/verify-proof.ts'
import { submitCheckpoint } from '../../src/audit/witness-client.ts'
import { createWitnesses } from '../../src/audit/witnesses.ts'
import { isGuardError } from '../../src/errors.ts'
import { until } from '../helpers/until.ts'
import { cosigner, startWitness, type TestWitness } from '../helpers/witness.ts'
import { appendAll, openTestLog, readLines, segmentNames, verifierKey } from './log-fixture.ts'

function witnessed (witnesses: readonly TestWitness[], more: Partial<LogOptions> = {}): Partial<LogOptions> {
  return { witnesses: witnesses.map(({ url, verifierKey }) => ({ url, verifierKey })), ...more }
}

/** Grows the log from one number of records to another, and closes it. */
async function grow (directory: string, from: number, to: number, more: Partial<LogOptions>): Promise<Error[]> {
  const errors: Error[] = []
  const log = await openTestLog(directory, { onError: (error) => { errors.push(error) }, ...more })
  await appendAll(log, from, to)
  await log.close()
  return errors
}

function cosignedBy (directory: string, witness: TestWitness): string {
  return readFileSync(path.join(directory, 'checkpoints', `witness-${parseWitnessKey(witness.verifierKey).id}`), 'utf8')
}

t.test('a log has its checkpoints cosigned, each with the proof that it continues the last', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  for (const [from, to] of [[0, 7], [7, 300], [300, 301]] as const) {
    t.same(await grow(directory, from, to, witnessed([witness])), [])
    t.equal(witness.seen?.size, to)
    t.match(await verifyLog({ directory, verifierKey, witnesses: [witness.verifierKey] }), {
      ok: true, unwitnessed: false, witnessedSize: to, witnesses: [{ name: 'witness.example/w1', size: to, at: '2023-11-14T22:13:20.000Z' }]
    })
  }
  t.same(new Set(witness.asked), new Set([0, 7, 300]))
  t.equal(witness.conflicts, 0, 'also after a restart it knows what the witness saw')
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, unwitnessed: true, witnesses: [] }, 'which says nothing to who does not know the witness')
})

t.test('what the witness saw is asked for when it is not known', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  await grow(directory, 0, 10, witnessed([witness]))
  const file = path.join(directory, 'checkpoints', `witness-${parseWitnessKey(witness.verifierKey).id}`)
  const note = readFileSync(file, 'utf8')
  for (const [from, damage] of [[10, () => { rmSync(file) }], [20, () => { writeFileSync(file, 'garbage') }], [30, () => { writeFileSync(file, note.replace(/— witness.*\n/, '')) }]] as const) {
    damage()
    witness.asked.length = 0
    t.same(await grow(directory, from, from + 10, witnessed([witness])), [])
    t.same(witness.asked.slice(0, 2), [0, from])
    t.equal(witness.seen?.size, from + 10)
  }
})

t.test('a log that was set back, or written anew, is told by its witness', async (t) => {
  const folder = t.testdir()
  const [directory, copy] = [path.join(folder, 'log'), path.join(folder, 'copy')]
  const witness = await startWitness(t, verifierKey)
  await grow(directory, 0, 10, {})
  cpSync(directory, copy, { recursive: true })
  await grow(directory, 10, 20, witnessed([witness]))
  const backErrors = await grow(copy, 10, 15, witnessed([witness]))
  t.match(backErrors[0], { code: 'FMG_ERR_LOG_INCONSISTENT', reason: 'witness-contradicts', message: /witness witness.example\/w1 has seen 20 records, this log has 1[05]/ })
  t.match((await grow(copy, 115, 120, witnessed([witness]))).at(-1), { message: /has seen other records than these 20/ })
  t.match((await grow(copy, 120, 130, witnessed([witness]))).at(-1), { message: /has seen other records than the first 20 of these 30/ })
  t.equal(witness.seen?.size, 20)
  t.match(await verifyLog({ directory: copy, verifierKey, witnesses: [witness.verifierKey] }), {
    ok: false, unwitnessed: true, witnessedSize: 0, problems: [{ what: 'cosigned by 0 of the witnesses given, 1 required' }]
  })
})

t.test('a change before what a witness saw is found, by whoever has the key of the log', async (t) => {
  const folder = t.testdir()
  const [directory, forged] = [path.join(folder, 'log'), path.join(folder, 'forged')]
  const witness = await startWitness(t, verifierKey)
  await grow(directory, 0, 20, witnessed([witness]))
  await grow(forged, 1000, 1020, {})
  rmSync(path.join(forged, 'checkpoints'), { recursive: true })
  cpSync(path.join(directory, 'checkpoints'), path.join(forged, 'checkpoints'), { recursive: true })
  const report = await verifyLog({ directory: forged, verifierKey, witnesses: [witness.verifierKey] })
  t.match(report, { ok: false, unwitnessed: true, witnessedSize: 0 })
  t.ok(report.problems.some(({ what }) => what === `the first 20 records do not have the root of checkpoints/witness-${parseWitnessKey(witness.verifierKey).id}`))
})

t.test('of several witnesses as many as are required vouch for what the least of them saw', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const [first, second, third] = [await startWitness(t, verifierKey, 'witness.example/1'), await startWitness(t, verifierKey, 'witness.example/2'), cosigner('witness.example/3')]
  first.time = 1_800_000_000
  await grow(directory, 0, 10, witnessed([first, second]))
  t.equal(parseNote(cosignedBy(directory, second)).signatures.length + parseNote(cosignedBy(directory, first)).signatures.length, 5, 'the one that came last stands beside the first')
  await grow(directory, 10, 20, witnessed([first]))
  const keys = [second.verifierKey, first.verifierKey, third.verifierKey]
  const sizes = [{ name: first.name, size: 20, at: '2027-01-15T08:00:00.000Z' }, { name: second.name, size: 10 }]
  t.match(await verifyLog({ directory, verifierKey, witnesses: keys }), { ok: true, witnessedSize: 20, witnesses: sizes })
  t.match(await verifyLog({ directory, verifierKey, witnesses: keys, witnessesRequired: 2 }), { ok: true, witnessedSize: 10, witnesses: sizes })
  t.match(await verifyLog({ directory, verifierKey, witnesses: keys, witnessesRequired: 3 }), {
    ok: false, witnessedSize: 0, unwitnessed: true, problems: [{ what: 'cosigned by 2 of the witnesses given, 3 required' }]
  })
  t.match(await verifyLog({ directory, verifierKey, witnesses: [first.verifierKey, first.verifierKey], witnessesRequired: 2 }), { ok: false }, 'one that is given twice is one')
  t.match(await verifyLog({ directory, verifierKey, witnesses: keys, witnessesRequired: 0 }), { ok: true, unwitnessed: true, witnessedSize: 0 })
  for (const wrong of [4, -1, 0.5]) await t.rejects(verifyLog({ directory, verifierKey, witnesses: keys, witnessesRequired: wrong }), { code: 'FMG_ERR_OPTION_INVALID', message: /witnessesRequired/ })
  for (const wrong of ['x', verifierKey, first.verifierKey.replace(/\+[0-9a-f]{8}\+/, '+00000000+')]) await t.rejects(verifyLog({ directory, witnesses: [wrong] }), { code: 'FMG_ERR_OPTION_INVALID' })

  const saved = cosignedBy(directory, second)
  const earlier = `${saved.slice(0, saved.indexOf('\n— witness'))}\n${second.cosign(parseNote(saved).text, 7)}\n`
  t.match(await verifyLog({ directory, verifierKey, witnesses: [second.verifierKey], savedCheckpoint: earlier }), { witnesses: [{ size: 10, at: '1970-01-01T00:00:07.000Z' }] }, 'the earliest time counts')
  rmSync(path.join(directory, 'checkpoints'), { recursive: true })
  t.match(await verifyLog({ directory, verifierKey, witnesses: [second.verifierKey], savedCheckpoint: saved }), { ok: true, witnessedSize: 10, witnesses: [{ name: second.name }] }, 'also by a checkpoint kept elsewhere')
})

t.test('what was cosigned is kept, the first of each hour and the last', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  let now = 0
  for (const [from, to] of [[0, 10], [10, 20], [20, 30]] as const) {
    await grow(directory, from, to, witnessed([witness], { clock: () => now }))
    now += 1_800_000
  }
  const { id } = parseWitnessKey(witness.verifierKey)
  const sizes = new Map(readdirSync(path.join(directory, 'checkpoints')).map((name) => [name, readFileSync(path.join(directory, 'checkpoints', name), 'utf8').split('\n')[1]]))
  t.match(Object.fromEntries<string | undefined>(sizes), { '1970-01-01T00': '10', '1970-01-01T01': '30', [`witness-${id}`]: '30' })
  t.match(sizes.get(`1970-01-01T01-${id}`), /^(20|30)$/)
  t.equal((await verifyLog({ directory, verifierKey, witnesses: [witness.verifierKey] })).keptCheckpoints, 5)
})

t.test('a witness that hangs or fails is in nobody\'s way, and is asked again', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  const errors: Error[] = []
  let failed = 0
  const over = new Promise<void>((resolve) => {
    witness.instead = (_request, response) => {
      if (++failed === 1) return
      response.writeHead(500).end()
      if (failed === 3) witness.instead = undefined
      if (failed === 3) resolve()
    }
  })
  const log = await openTestLog(directory, witnessed([witness], { witnessIntervalMs: 1, witnessTimeoutMs: 50, onError: (error) => { errors.push(error) } }))
  await appendAll(log, 0, 10)
  t.equal((await log.checkpoint()).size, 10)
  await over
  await log.close()
  t.equal(witness.seen?.size, 10)
  t.match(errors, [{ code: 'FMG_ERR_WITNESS', reason: 'witness-unavailable', message: /witness.example\/w1 cannot be reached/ }, { message: /answers 500/ }])
  t.match(await verifyLog({ directory, verifierKey, witnesses: [witness.verifierKey] }), { ok: true, witnessedSize: 10 })
})

t.test('whatever is thrown while a witness is asked is told as an error', async (t) => {
  const { directory, checkpoint, witness } = await ask(t)
  const errors: Error[] = []
  const place = { url: witness.url, key: parseWitnessKey(witness.verifierKey) }
  const clock = (): number => { throw Object('no time') as Error }
  const witnesses = createWitnesses({ directory, witnesses: [place], witnessIntervalMs: 1000, witnessTimeoutMs: 5000, clock, onError: (error) => { errors.push(error) } })
  witnesses.offer(checkpoint)
  await witnesses.close()
  t.match(errors[0], { message: 'a witness could not be asked' })
})

t.test('a witness is asked once an interval, and when the log closes', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  const log = await openTestLog(directory, witnessed([witness], { witnessIntervalMs: 900_000 }))
  for (let size = 1; size <= 5; size++) {
    await appendAll(log, size - 1, size)
    await log.checkpoint()
  }
  await log.close()
  t.ok(witness.asked.length <= 2)
  t.equal(witness.seen?.size, 5)
})

t.test('what a witness saw last is known without asking', async (t) => {
  const witness = await startWitness(t, verifierKey)
  const log = await openTestLog(path.join(t.testdir(), 'log'), witnessed([witness], { witnessIntervalMs: 1 }))
  for (const size of [5, 10, 15]) {
    await appendAll(log, size - 5, size)
    await log.checkpoint()
    await until(() => witness.seen?.size === size)
  }
  await log.close()
  t.equal(witness.conflicts, 0)
})

t.test('a witness that fails is asked at growing intervals, and never when the log is closed', async (t) => {
  const witness = await startWitness(t, verifierKey)
  const times: number[] = []
  witness.instead = (_request, response) => {
    times.push(performance.now())
    response.writeHead(500).end()
  }
  const log = await openTestLog(path.join(t.testdir(), 'log'), witnessed([witness], { witnessIntervalMs: 10 }))
  await until(() => times.length === 4)
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0))
  // A timer may be a millisecond early.
  for (const [index, gap] of gaps.entries()) t.ok(gap >= 20 * 2 ** index - 2, `${gap} ms`)
  await log.close()
  const asked = times.length
  await setTimeout(400)
  t.equal(times.length, asked)
})

t.test('a log that closes does not wait for a witness that is gone', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const witness = await startWitness(t, verifierKey)
  witness.instead = () => {}
  const errors = await grow(directory, 0, 10, witnessed([witness], { closeTimeoutMs: 2000, witnessTimeoutMs: 60_000 }))
  t.same(errors, [])
  t.match(await verifyLog({ directory, verifierKey }), { ok: true, checkpointSize: 10 })
})

interface Asked {
  readonly directory: string
  readonly checkpoint: Checkpoint
  readonly witness: TestWitness
  readonly submit: (more?: { oldSize?: number, timeoutMs?: number }) => Promise<string>
}

async function ask (t: Test): Promise<Asked> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory)
  await appendAll(log, 0, 10)
  const checkpoint = await log.checkpoint()
  await log.close()
  const witness = await startWitness(t, verifierKey)
  const place = { url: witness.url, key: parseWitnessKey(witness.verifierKey) }
  return { directory, checkpoint, witness, submit: async (more = {}) => await submitCheckpoint({ directory, witness: place, checkpoint, oldSize: 0, timeoutMs: 5000, ...more }) }
}

t.test('no answer but the witness\' own cosignature is taken', async (t) => {
  const { checkpoint, witness, submit } = await ask(t)
  const { text } = parseNote(checkpoint.note)
  const other = cosigner('witness.example/other')
  const answers: readonly (readonly [string, (response: ServerResponse) => void, RegExp])[] = [
    ['a refusal', (response) => { response.writeHead(403).end() }, /answers 403/],
    ['an unknown origin', (response) => { response.writeHead(404).end() }, /answers 404/],
    ['a bad request', (response) => { response.writeHead(400).end() }, /answers 400/],
    ['an empty success', (response) => { response.end() }, /something else/],
    ['a redirect', (response) => { response.writeHead(307, { location: witness.url.replace('prefix', 'other') }).end() }, /cannot be reached/],
    ['a cut connection', (response) => { response.destroy() }, /cannot be reached/],
    ['too much', (response) => { response.end('— x '.padEnd(70_000, 'x')) }, /does not end its answer/],
    ['an answer that ends too soon', (response) => { response.writeHead(200, { 'content-length': 100 }).write('x'); setImmediate(() => { response.destroy() }) }, /does not end its answer/],
    ['garbage', (response) => { response.end('garbage\n') }, /something else/],
    ['a cosignature of another', (response) => { response.end(`${other.cosign(text, 1)}\n`) }, /answers without its cosignature/],
    ['one over another checkpoint', (response) => { response.end(`${witness.cosign(text.replace('\n10\n', '\n11\n'))}\n`) }, /something else/],
    ['409 without a size', (response) => { response.writeHead(409).end('x\n') }, /409 without the size/],
    ['409 with a size and more', (response) => { response.writeHead(409).end('5\n5\n') }, /409 without the size/],
    ['409 with leading zeros', (response) => { response.writeHead(409).end('05\n') }, /409 without the size/]
  ]
  for (const [name, answer, what] of answers) {
    witness.instead = (_request, response) => { answer(response) }
    await t.rejects(submit(), { code: 'FMG_ERR_WITNESS', message: what }, name)
  }
  witness.instead = (_request, response) => { response.writeHead(409).end('5\n') }
  await t.rejects(submit({ oldSize: 5 }), { code: 'FMG_ERR_WITNESS', message: /answers 409/ })
  await t.rejects(submit(), { code: 'FMG_ERR_WITNESS', message: /answers 409/ }, 'and it is not asked for ever')
  witness.instead = () => {}
  await t.rejects(submit({ timeoutMs: 20 }), { code: 'FMG_ERR_WITNESS', message: /cannot be reached/ })
  witness.instead = (_request, response) => { response.end(`${other.cosign(text, 1)}\n${witness.cosign(text)}\n`) }
  t.equal(await submit(), witness.cosign(text), 'of several signatures its own')
})

t.test('a cosignature counts under its checkpoint, name, key and time alone', async (t) => {
  const { checkpoint: { note }, witness } = await ask(t)
  const { text } = parseNote(note)
  const key = parseWitnessKey(witness.verifierKey)
  const line = witness.cosign(text, 7)
  const cosigned = `${note}${line}\n`
  t.same(readCosignatures(cosigned, [key]), [{ witness: key, time: 7 }])
  t.same(readCosignatures(cosigned, [parseWitnessKey(cosigner('witness.example/other').verifierKey)]), [])
  t.same(readCosignatures(cosigned.replace('— witness.example/w1', '— witness.example/w2'), [key]), [])
  const [, , base64 = ''] = line.split(' ')
  const changed = (at: number): string => {
    const bytes = Buffer.from(base64, 'base64')
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    return cosigned.replace(base64, bytes.toString('base64'))
  }
  t.same(readCosignatures(changed(0), [key]), [], 'another key')
  const cut = (bytes: number): string => cosigned.replace(base64, Buffer.from(base64, 'base64').subarray(0, bytes).toString('base64'))
  for (const wrong of [changed(4), changed(11), changed(12), changed(75), cut(11), cut(12), cut(75), `${note}${witness.cosign(text, 8_640_000_000_001)}\n`, cosigned.replace('\n10\n', '\n11\n')]) {
    t.throws(() => readCosignatures(wrong, [key]), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /cosignature of witness.example\/w1 that does not verify/ })
  }
})

t.test('a record is proven under the cosigned checkpoint that covers it', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const [first, second] = [await startWitness(t, verifierKey, 'witness.example/1'), await startWitness(t, verifierKey, 'witness.example/2')]
  const provenUnder = async (seq: number): Promise<unknown> => {
    const { proof } = await proveRecord({ directory, seq, verifierKey })
    const { checkpoint, cosignatures } = verifyProof({ proof, entry: readLines(directory)[seq] ?? '', verifierKey, witnesses: [first.verifierKey, second.verifierKey], witnessesRequired: 0 })
    return [checkpoint.size, cosignatures.length]
  }
  await grow(directory, 0, 10, witnessed([first, second]))
  t.same(await provenUnder(3), [10, 2])
  await grow(directory, 10, 20, witnessed([first]))
  t.same(await provenUnder(3), [10, 2], 'two say more than one')
  t.same(await provenUnder(10), [20, 1])
  await grow(directory, 20, 30, {})
  t.same(await provenUnder(10), [20, 1])
  t.same(await provenUnder(20), [30, 0])
})

t.test('a proof holds what its witnesses say', async (t) => {
  const { directory, checkpoint: { note }, witness } = await ask(t)
  const cosigned = `${note}${witness.cosign(parseNote(note).text)}\n`
  const { proof } = await proveRecord({ directory, seq: 3, checkpoint: cosigned, verifierKey })
  const entry = readLines(directory)[3] ?? ''
  const witnesses = [witness.verifierKey]
  t.match(verifyProof({ proof, entry, verifierKey, witnesses }), { index: 3, cosignatures: [{ time: witness.time, witness: { name: witness.name } }] })
  t.match(verifyProof({ proof, entry, verifierKey }), { cosignatures: [] })
  const plain = (await proveRecord({ directory, seq: 3, checkpoint: note })).proof
  t.throws(() => verifyProof({ proof: plain, entry, verifierKey, witnesses }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /cosigned by 0 of the witnesses given, 1 required/ })
  t.match(verifyProof({ proof: plain, entry, verifierKey, witnesses, witnessesRequired: 0 }), { cosignatures: [] })
  t.throws(() => verifyProof({ proof, entry, verifierKey, witnessesRequired: 1 }), { code: 'FMG_ERR_OPTION_INVALID' })
  t.ok(isGuardError(await grow(directory, 10, 11, { witnesses: [{ url: 'http://elsewhere.example/', verifierKey: witness.verifierKey }] }).catch((error: unknown) => error), 'FMG_ERR_OPTION_INVALID'), 'a witness is asked over TLS')
  t.equal(segmentNames(directory).length, 1)
})
