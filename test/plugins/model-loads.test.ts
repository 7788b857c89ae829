import { generateKeyPairSync } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { requireKnownCheckpoint } from '../../src/audit/known-checkpoint.ts'
import type { AuditLog } from '../../src/audit/log.ts'
import { readRecords, type LoggedRecord } from '../../src/audit/read-records.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import { readManifest, type Manifest } from '../../src/model/manifest.ts'
import { openModelLoads, type ModelLoads, type ModelLoadsOptions } from '../../src/plugins/model-loads.ts'
import { models } from '../../src/plugins/models.ts'
import { appendChange } from '../../src/plugins/audit-change.ts'
import { localSigner } from '../../src/secrets/local-signer.ts'
import { appendAll, openTestLog } from '../audit/log-fixture.ts'
import { manifestOf, trust } from '../helpers/models.ts'
import { countingKey, sealedModel } from '../helpers/sealed-models.ts'

const by = { method: 'key', hint: 'ab'.repeat(32) } as const
const rollback = (reason: string): { code: string, reason: string } => ({ code: 'FMG_ERR_MODEL_ROLLBACK', reason })

/** A test with a log, which is closed before its folder goes. */
function withLog (name: string, test: (t: Test, log: AuditLog, folder: string) => Promise<void>): void {
  t.test(name, async (t) => {
    const folder = t.testdir()
    const log = await openTestLog(path.join(folder, 'log'))
    try {
      await test(t, log, folder)
    } finally {
      await log.close()
    }
  })
}

const manifest = (version: string, members: object = {}): Manifest => readManifest(Buffer.from(manifestOf({ version, ...members })))

/** As a server does that starts: opens the floor, admits a version, and records it. */
async function start (log: AuditLog, version: string, options: Partial<ModelLoadsOptions> = {}, members: object = {}): Promise<ModelLoads> {
  const loads = await openModelLoads({ log, ...options })
  loads.admit(manifest(version, members), by)
  await loads.record({ id: 'fraud', version, digest: 'sha256:00' })
  return loads
}

async function recorded (log: AuditLog): Promise<readonly LoggedRecord[]> {
  const all: LoggedRecord[] = []
  for await (const records of readRecords({ directory: log.directory })) all.push(...records.filter(({ action }) => action.startsWith('model:')))
  return all
}

withLog('the highest version that was loaded is found again in the log', async (t, log) => {
  await start(log, '1.2.0')
  await start(log, '1.3.0', { clock: () => Date.parse('2026-11-01T00:00:00Z') }, { trained_at: '2026-10-01T00:00:00Z' })
  const [, record] = await recorded(log)
  t.match(record, {
    timestamp: '2026-11-01T00:00:00.000Z',
    action: 'model:load',
    status: 'success',
    model_id: 'fraud',
    model_version: '1.3.0',
    model_digest: 'sha256:00',
    detail: { trained_at: '2026-10-01T00:00:00Z', signer: by }
  })
  await t.rejects(start(log, '1.2.9'), { ...rollback('version-below-floor'), message: /fraud 1\.2\.9 is below 1\.3\.0/ })
  t.ok(await start(log, '1.3.0'), 'the same again is no rollback')
  t.ok(await start(log, '1.4.0'))
  await t.rejects(start(log, '1.3.0'), rollback('version-below-floor'))
  const loads = await openModelLoads({ log })
  t.doesNotThrow(() => { loads.admit(manifest('0.1', { name: 'churn' }), by) }, 'another model')
  await loads.record({ id: 'fraud', version: '1.5.0', digest: 'sha256:00' })
  t.throws(() => { loads.admit(manifest('1.4.0'), by) }, rollback('version-below-floor'), 'a version that nobody asked about counts too')
})

withLog('a version that could not be loaded raises nothing', async (t, log) => {
  const loads = await start(log, '1.2.0')
  loads.admit(manifest('1.3.0'), by)
  t.doesNotThrow(() => { loads.admit(manifest('1.2.0'), by) })
  await loads.record({ id: 'fraud', version: '1.3.0', digest: 'sha256:00' })
  t.throws(() => { loads.admit(manifest('1.2.0'), by) }, rollback('version-below-floor'))
})

withLog('a configured minimum holds with an empty log', async (t, log) => {
  await t.rejects(start(log, '1.2.0', { minimum: { fraud: '1.3.0' } }), rollback('version-below-minimum'))
  t.ok(await start(log, '1.3.0', { minimum: { fraud: '1.3.0' } }))
})

withLog('a deliberate rollback is recorded, and holds until another version is loaded', async (t, log) => {
  await start(log, '1.3.0')
  await t.rejects(start(log, '1.2.0', { allowRollback: { fraud: '1.1.0', churn: '1.2.0' } }), rollback('version-below-floor'))
  await start(log, '1.2.0', { allowRollback: { fraud: '1.2.0' } })
  t.match((await recorded(log)).at(-1), { action: 'model:rollback', model_version: '1.2.0', detail: { from: '1.3.0', signer: by } })
  t.ok(await start(log, '1.2.0'), 'a restart without the permission is no change of mind')
  await t.rejects(start(log, '1.1.0'), rollback('version-below-floor'), 'to that version alone')
  await start(log, '1.3.0')
  await t.rejects(start(log, '1.2.0'), rollback('version-below-floor'))
  await start(log, '1.3.1', { allowRollback: { fraud: '1.3.1' } })
  t.match((await recorded(log)).at(-1), { action: 'model:load', model_version: '1.3.1' }, 'forward is none')
})

withLog('changes by command count: what was promoted, what was gone back to, not what was merely loaded', async (t, log) => {
  const note = async (action: string, version: string | undefined, members: Partial<AuditRecord> = {}): Promise<void> => {
    await appendChange(log, { timestamp: new Date().toISOString(), action, status: 'success', model_id: 'fraud', ...version !== undefined && { model_version: version }, ...members })
  }
  await start(log, '1.2.0')
  await note('model:load', '1.4.0', { detail: { requested_by: 'p', approved_by: 'p' } })
  await note('model:load', '1.5.0', { status: 'error' })
  await note('model:load', undefined)
  await note('model:unload', '1.6.0')
  t.ok(await start(log, '1.2.0'))
  await note('model:promote', '1.4.0', { detail: { requested_by: 'p', approved_by: 'p' } })
  await t.rejects(start(log, '1.2.0'), rollback('version-below-floor'))
  await note('model:rollback', '1.2.0', { detail: { from: '1.4.0' } })
  t.ok(await start(log, '1.2.0'))
  await note('model:promote', '1.4.0')
  await t.rejects(start(log, '1.2.0'), rollback('version-below-floor'))
  await note('model:load', 'blue', { detail: { trained_at: 3 } })
  await t.rejects(start(log, '1.4.0'), rollback('version-unordered'))
})

withLog('an older bundle in a model\'s place is not decrypted, and the server does not start', async (t, log, folder) => {
  const key = countingKey('k')
  const directory = await sealedModel(path.join(folder, 'bundle'), [key])
  // With the graph damaged, reaching it would be another refusal.
  const graph = await readFile(path.join(directory, 'model.onnx.sealed'))
  graph.writeUInt8(graph.readUInt8(100) ^ 1, 100)
  await writeFile(path.join(directory, 'model.onnx.sealed'), graph)
  await start(log, '1.3.0')
  const { admit } = await openModelLoads({ log })
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await t.rejects(async () => { await app.register(models, { models: { fraud: { directory } }, keys: [key], trust, admit }) }, rollback('version-below-floor'))
})

t.test('a log that was begun anew is told by a checkpoint that was kept elsewhere', async (t) => {
  const folder = t.testdir()
  const directory = path.join(folder, 'log')
  const inconsistent = { code: 'FMG_ERR_LOG_INCONSISTENT', message: /does not go on from the checkpoint of 3 records/ }
  const first = await openTestLog(directory)
  const empty = Buffer.from((await first.checkpoint()).note)
  for (const version of ['1.1.0', '1.2.0', '1.3.0']) await start(first, version)
  const known = Buffer.from((await first.checkpoint()).note)
  await t.resolves(requireKnownCheckpoint(first, known))
  await start(first, '1.4.0')
  await t.resolves(requireKnownCheckpoint(first, known), 'a log that goes on')
  await first.close()

  await rm(directory, { recursive: true })
  const second = await openTestLog(directory)
  await t.resolves(requireKnownCheckpoint(second, empty), 'every log goes on from nothing')
  t.ok(await start(second, '1.0.0'), 'nothing on this machine tells')
  await t.rejects(requireKnownCheckpoint(second, known), inconsistent, 'too short')
  for (const version of ['1.1.0', '1.2.0', '1.3.0']) await start(second, version)
  await t.rejects(requireKnownCheckpoint(second, known), inconsistent, 'long enough, with other records')
  await second.close()

  const long = await openTestLog(path.join(folder, 'long'))
  await appendAll(long, 0, 300)
  const beyond = Buffer.from((await long.checkpoint()).note)
  await long.close()
  const short = await openTestLog(path.join(folder, 'short'))
  await start(short, '1.0.0')
  await t.rejects(requireKnownCheckpoint(short, beyond), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /does not go on from the checkpoint of 300 records/ })
  await short.close()

  const other = await openTestLog(path.join(folder, 'other'), { signer: localSigner(generateKeyPairSync('ed25519').privateKey) })
  await t.rejects(requireKnownCheckpoint(other, known), { code: 'FMG_ERR_LOG_INCONSISTENT' }, 'of another key')
  await other.close()
})
