import { hash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { csvHeader, toCsv } from '../../src/audit/csv.ts'
import { exportRecords, type ExportFormat } from '../../src/audit/export.ts'
import { findSent } from '../../src/audit/find-sent.ts'
import { openIdentities } from '../../src/audit/identities.ts'
import { ocsfVersion, toOcsf } from '../../src/audit/ocsf.ts'
import type { LoggedRecord } from '../../src/audit/read-records.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import { append, openTestLog, origin, readLines, record } from './log-fixture.ts'

const prediction: LoggedRecord = {
  seq: 7,
  timestamp: '2026-11-22T10:00:00.500Z',
  action: 'predict',
  status: 'success',
  user_id: 'u_ann',
  org: 'acme',
  model_id: 'fraud',
  model_version: '3',
  model_digest: 'sha256:00',
  credential_method: 'api-key',
  credential_id: 'c_1',
  request_id: 'req-1',
  policy: 'sha256:aa',
  rule: 'analysts predict',
  decision: 'allow',
  duration_ms: 12.6,
  http_status: 200,
  input_hash: 'hmac-sha256:k_1:00'
}

async function exported (directory: string, format: ExportFormat): Promise<string> {
  let text = ''
  for await (const part of exportRecords({ directory, format })) text += part
  return text
}

t.test('an export holds the very lines of the log, a table, or events', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory)
  const detail = { 10: 'ten', 9: 'nine', text: 'a "quoted", text' }
  for (const item of [record(0), { ...record(1), reason: 'ä', detail }, record(2)]) await append(log, item)
  await log.close()
  t.equal(await exported(directory, 'jsonl'), readLines(directory).map((line) => `${line}\n`).join(''))
  const [head, , second] = (await exported(directory, 'csv')).split('\r\n')
  t.equal(`${head ?? ''}\r\n`, csvHeader)
  t.equal(second, '1,2026-11-22T00:00:00.000Z,predict,success,ä' + ','.repeat(14) + 'request-1' + ','.repeat(8) + '"{""10"":""ten"",""9"":""nine"",""text"":""a \\""quoted\\"", text""}"')
  const events = (await exported(directory, 'ocsf')).split('\n').slice(0, -1).map((line) => JSON.parse(line) as unknown)
  t.match(events, [{ metadata: { log_name: origin, sequence: 0 } }, { metadata: { uid: `${origin}/1` } }, { metadata: { sequence: 2 } }])
  const none: string[] = []
  for await (const part of exportRecords({ directory, format: 'csv', where: { user_id: ['nobody'] } })) none.push(part)
  t.same(none, [csvHeader])
})

t.test('a text that a spreadsheet would run is defused', async (t) => {
  for (const evil of ['=1+1', '+1', '-1', '@a', '\tx', '\rx']) t.match(toCsv({ ...prediction, request_id: evil }), evil === '\rx' ? ',"\'\rx",' : `,'${evil},`)
  t.match(toCsv({ ...prediction, request_id: 'a\nb,"c"' }), ',"a\nb,""c""",')
  t.match(toCsv(prediction), ',fraud,3,sha256:00,12.6,,200,')
})

t.test('an event is an API Activity of OCSF', async (t) => {
  t.same(toOcsf(prediction, 'example.com/audit'), {
    activity_id: 99,
    activity_name: 'predict',
    actor: { user: { uid: 'u_ann', credential_uid: 'c_1', org: { name: 'acme' } }, authorizations: [{ decision: 'allow', policy: { uid: 'sha256:aa', name: 'analysts predict' } }] },
    api: { operation: 'predict', request: { uid: 'req-1' }, response: { code: 200 } },
    category_uid: 6,
    class_uid: 6003,
    count: undefined,
    duration: 13,
    http_response: { code: 200 },
    metadata: { version: ocsfVersion, product: { name: 'fastify-model-guard' }, log_name: 'example.com/audit', sequence: 7, uid: 'example.com/audit/7', original_time: '2026-11-22T10:00:00.500Z' },
    resources: [{ type: 'model', name: 'fraud', role_id: 1, version: '3' }],
    severity_id: 1,
    src_endpoint: { name: 'not recorded' },
    status: 'Success',
    status_code: 'success',
    status_detail: undefined,
    status_id: 1,
    time: Date.parse('2026-11-22T10:00:00.500Z'),
    type_uid: 600399,
    unmapped: { credential_method: 'api-key', input_hash: 'hmac-sha256:k_1:00', model_digest: 'sha256:00' }
  })
  const bare: LoggedRecord = { seq: 0, timestamp: '2026-11-22T10:00:00.500Z', action: 'key:revoke', status: 'denied', reason: 'why', resource_type: 'key', resource_id: 'k' }
  t.match(toOcsf(bare, ''), {
    activity_id: 4,
    actor: { user: { name: 'nobody' } },
    api: { operation: 'key:revoke', request: undefined, response: undefined },
    duration: undefined,
    http_response: undefined,
    resources: [{ type: 'key', name: 'k', version: undefined }],
    severity_id: 2,
    status: 'Failure',
    status_code: 'denied',
    status_detail: 'why',
    status_id: 2,
    type_uid: 600304
  })
  t.match(toOcsf({ ...bare, resource_id: undefined, user_id: 'u', action: 'read' }, ''), { activity_id: 2, resources: undefined, actor: { user: { uid: 'u', org: undefined } } })
  // What the class requires (OCSF, API Activity and its base event).
  for (const event of [toOcsf(prediction, ''), toOcsf(bare, '')]) {
    t.same(['activity_id', 'actor', 'api', 'category_uid', 'class_uid', 'metadata', 'severity_id', 'src_endpoint', 'time', 'type_uid'].filter((name) => Reflect.get(event, name) === undefined), [])
  }
})

t.test('who holds an input and the keys finds where it was sent, until the sender is forgotten', async (t) => {
  const folder = t.testdir()
  const [directory, file] = [path.join(folder, 'log'), path.join(folder, 'identities')]
  let now = Date.parse('2026-10-31T23:00:00Z')
  const identities = await openIdentities({ file, clock: () => now })
  const log = await openTestLog(directory, { identities })
  const said = async (principal: string, input: string, output: string): Promise<void> => {
    const { pseudonym, digests } = identities.principal(principal)
    const item: AuditRecord = { ...record(0), timestamp: new Date(now).toISOString(), user_id: pseudonym, input_hash: digests.digest('input', input), output_hash: digests.digest('output', output) }
    await append(log, item)
  }
  await said('ann', 'a question', 'an answer')
  await said('bob', 'a question', 'another answer')
  // A new month, and with it a new key.
  now += 7_200_000
  await said('ann', 'a question', 'an answer')
  await said('ann', 'an answer', 'a question')
  const find = async (text: string, as: 'input' | 'output', more: object = {}): Promise<string[]> => {
    const sent = await findSent({ directory, identities: file, bytes: Buffer.from(text), as, ...more })
    return sent.map(({ principal, record: { seq } }) => `${principal} ${seq}`)
  }
  t.same(await find('a question', 'input'), ['ann 0', 'bob 1', 'ann 2'])
  t.same(await find('a question', 'output'), ['ann 3'], 'an input is no output')
  t.same(await find('a question!', 'input'), [])
  t.same(await find('a question', 'input', { principals: ['bob'] }), ['bob 1'])
  t.same(await find('a question', 'input', { since: now }), ['ann 2'])
  t.same(await find('a question', 'input', { until: now }), ['ann 0', 'bob 1'])
  await identities.flush()
  appendFileSync(file, `${JSON.stringify({ pseudonym: 'u_nobody', epoch: '2026-11', key_id: 'k_nobody', key: '' })}\n`)
  t.same(await find('a question', 'input', { principals: ['bob', ''] }), ['bob 1'], 'a key of nobody is no key')
  await identities.forget('ann')
  t.same(await find('a question', 'input'), ['bob 1'])
  t.notMatch(readLines(directory).join(), hash('sha256', 'a question'))
  await log.close()
  await identities.close()
})
