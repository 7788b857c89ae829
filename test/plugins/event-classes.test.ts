import { once } from 'node:events'
import fs from 'node:fs'
import { PassThrough } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { appendChange } from '../../src/plugins/audit-change.ts'
import { audit, type AuditOptions } from '../../src/plugins/audit.ts'
import { modelGuard } from '../../src/plugins/model-guard.ts'
import { model, param } from '../../src/plugins/resource.ts'
import { strangers } from '../../src/plugins/strangers.ts'
import { asPrincipal } from '../../src/testing.ts'
import { auditIn, guardOptions, recordsIn } from '../helpers/guard.ts'
import type { FastifyRequest } from 'fastify'

const ann = asPrincipal({ id: 'ann', roles: ['analyst'] })

interface Guarded {
  readonly app: FastifyInstance
  readonly folder: string
  readonly options: AuditOptions
  /** What `/stream` answers. */
  readonly stream: PassThrough
}

async function guarded (t: Test, events: AuditOptions['events']): Promise<Guarded> {
  const folder = t.testdir()
  const options = await auditIn(folder)
  const app = Fastify()
  const stream = new PassThrough()
  t.teardown(() => app.close())
  await app.register(modelGuard, guardOptions({ audit: { ...options, events } }))
  app.get('/x', { config: { access: 'authenticated' } }, async () => 'x')
  app.get('/stream', { config: { access: 'authenticated' } }, async () => stream)
  app.get('/denied/:model', { config: { access: { action: 'delete', resource: model(param('model')) } } }, async () => 'x')
  await app.ready()
  return { app, folder, options, stream }
}

function fail (t: Test): { restore: () => void } {
  return t.intercept(fs, 'fdatasync', { value: (fd: number, callback: (error: Error) => void) => { callback(new Error('ENOSPC')) } })
}

const unavailable = { statusCode: 503, headers: { 'retry-after': '5' } }

t.test('by default every answer waits for its record, and is 503 without one', async (t) => {
  const { app } = await guarded(t, undefined)
  const failing = fail(t)
  for (const url of ['/x', '/denied/m']) {
    const response = await app.inject({ url, ...ann })
    t.match(response, unavailable)
    t.match(response.json(), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  }
  failing.restore()
  t.equal((await app.inject({ url: '/x', ...ann })).statusCode, 200, 'and leaves again when it can be written')
})

t.test('each class of event waits as it was told', async (t) => {
  for (const [events, allowed, refused] of [
    [{ prediction: 'buffer' }, 200, 503],
    [{ refusal: 'buffer' }, 503, 403],
    [{ prediction: 'best-effort', refusal: 'block' }, 200, 503],
    [{ prediction: 'block', refusal: 'best-effort' }, 503, 403]
  ] as const) {
    const { app, folder, options } = await guarded(t, events)
    const failing = fail(t)
    t.equal((await app.inject({ url: '/x', ...ann })).statusCode, allowed)
    t.equal((await app.inject({ url: '/denied/m', ...ann })).statusCode, refused)
    await t.rejects(appendChange(options.log, { timestamp: new Date().toISOString(), action: 'key:revoke', status: 'success' }), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' }, 'a change waits always')
    failing.restore()
    await appendChange(options.log, { timestamp: new Date().toISOString(), action: 'key:create', status: 'success' })
    await app.close()
    const records = recordsIn(folder)
    const kept = 'buffer' in Object.fromEntries(Object.values(events).map((word) => [word, 1]))
    t.equal(records.filter(({ http_status: status }) => status === Math.min(allowed, refused)).length, kept ? 1 : 0, 'what was only buffered is written when it can be')
    t.ok(kept || records.some(({ reason, count }) => reason === 'dropped' && Number(count) > 0), 'what was dropped is counted')
    t.ok(records.some(({ action }) => action === 'key:create'))
    t.notOk(records.some(({ action }) => action === 'key:revoke'))
  }
})

t.test('of a record that was dropped no receipt is promised, and no later record amends another in its place', async (t) => {
  const { app, folder, options, stream } = await guarded(t, { prediction: 'best-effort' })
  const failing = fail(t)
  stream.write('the beginning')
  const streamed = await app.inject({ url: '/stream', headers: { ...ann.headers, 'audit-receipt': '?1' }, payloadAsStream: true })
  await options.log.checkpoint()
  failing.restore()
  await appendChange(options.log, { timestamp: new Date().toISOString(), action: 'key:create', status: 'success' })
  stream.end('the end')
  await once(streamed.stream().resume(), 'end')
  const plain = await app.inject({ url: '/x', headers: { ...ann.headers, 'audit-receipt': '?1' } })
  await app.close()
  t.notOk(streamed.headers['audit-seq'])
  t.notOk(plain.headers['audit-seq'])
  const records = recordsIn(folder).filter(({ http_status: status }) => status === 200)
  t.equal(records.length, 2, 'the end of the stream, and the other request')
  for (const record of records) t.notOk(record['amends'] ?? record['commitment'] ?? false)
})

t.test('a record of facts that was refused is written with the next one that names it', async (t) => {
  const { app, folder } = await guarded(t, undefined)
  const failing = fail(t)
  await app.inject({ url: '/x', ...ann })
  failing.restore()
  await app.inject({ url: '/x', ...ann })
  await app.close()
  const records = recordsIn(folder)
  const facts = records.find(({ request_id: id }) => id !== undefined)?.['facts']
  t.equal(records.filter(({ action, facts: digest }) => action === 'facts' && digest === facts).length, 1)
})

t.test('classes are read strictly', async (t) => {
  const options = await auditIn(t.testdir())
  t.teardown(async () => { await options.log.close() })
  for (const events of [{ change: 'buffer' }, { prediction: 'async' }, 'block']) {
    const given: unknown = { ...options, events }
    await t.rejects(async () => { await Fastify().register(audit, given as AuditOptions) }, { code: 'FMG_ERR_OPTION_INVALID', message: /audit\.events/ })
  }
})

t.test('on a disk with little room refusals of strangers are counted, and told of when there is room again', async (t) => {
  const folder = t.testdir()
  const { log, identities } = await auditIn(folder)
  const refused = strangers(log, identities, { durability: 'best-effort' })
  const request = { ip: '192.0.2.1', id: 'req' } as FastifyRequest
  const refusal = { status: 'unauthenticated', httpStatus: 401, reason: 'credential-missing' } as const
  let isLow = async (): Promise<boolean> => true
  log.isLow = async () => await isLow()
  for (let index = 0; index < 7; index++) refused.count(request, refusal)
  await refused.flush()
  isLow = async () => { throw new Error('EIO') }
  for (let index = 0; index < 5; index++) refused.count(request, refusal)
  await refused.flush()
  t.same(recordsIn(folder).filter(({ action }) => action === 'authenticate'), [])
  await new Promise<void>((resolve, reject) => { log.append({ timestamp: 'now', action: 'predict', status: 'success' }, (error) => { if (error === null) resolve(); else reject(error) }) })
  isLow = async () => false
  const append = log.append.bind(log)
  log.append = (_record, done) => { done(new Error('full'), -1) }
  refused.count(request, refusal)
  await refused.flush()
  log.append = append
  refused.count(request, refusal)
  await refused.flush()
  await log.close()
  t.match(recordsIn(folder), [{ action: 'predict' }, { action: 'authenticate', reason: 'disk-low', count: 13 }, { reason: 'credential-missing', count: 1 }])
})

t.test('a change waits for its record also where the log lets nobody wait', async (t) => {
  const { log } = await auditIn(t.testdir(), 'async')
  const failing = fail(t)
  await t.rejects(appendChange(log, { timestamp: new Date().toISOString(), action: 'key:revoke', status: 'success' }), { code: 'FMG_ERR_AUDIT_UNAVAILABLE' })
  failing.restore()
  await log.close()
})
