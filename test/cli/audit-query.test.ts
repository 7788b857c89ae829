import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { openIdentities } from '../../src/audit/identities.ts'
import type { LoggedRecord } from '../../src/audit/read-records.ts'
import { append, openTestLog, readLines } from '../audit/log-fixture.ts'
import { modelGuard } from '../helpers/command.ts'

const folder = t.testdir()
const [log, identities, input, output] = ['log', 'identities.jsonl', 'input', 'output'].map((name) => path.join(folder, name)) as [string, string, string, string]
let pseudonym = ''

t.before(async () => {
  const people = await openIdentities({ file: identities })
  const audit = await openTestLog(log, { identities: people })
  writeFileSync(input, 'a question')
  writeFileSync(output, 'an answer')
  for (const [index, principal] of ['ann', 'bob', 'ann\u001b[2J', 'ann'].entries()) {
    const { pseudonym: user, digests } = people.principal(principal)
    if (principal === 'ann') pseudonym = user
    await append(audit, {
      timestamp: `2026-11-0${index + 1}T00:00:00.000Z`,
      action: 'predict',
      status: index === 1 ? 'denied' : 'success',
      ...index === 1 && { reason: 'rule' },
      user_id: user,
      model_id: `model-${index}`,
      org: 'acme',
      credential_id: 'c_1',
      input_hash: digests.digest('input', 'a question'),
      output_hash: digests.digest('output', 'an answer')
    })
  }
  await audit.close()
  await people.close()
})

t.test('records are asked for by time, principal, model, action, status and reason', async (t) => {
  const seqs = async (...words: string[]): Promise<number[]> => {
    const { status, stdout } = await modelGuard('audit', 'query', log, '--json', ...words)
    t.equal(status, 0)
    return (JSON.parse(stdout) as { records: LoggedRecord[] }).records.map(({ seq }) => seq)
  }
  t.same(await seqs(), [0, 1, 2, 3])
  t.same(await seqs('--principal', 'ann', '--identities', identities), [0, 3])
  t.same(await seqs('--principal', 'ann', '--principal', 'bob', '--identities', identities), [0, 1, 3])
  t.same(await seqs('--principal', 'nobody', '--identities', identities), [])
  t.same(await seqs('--user-id', pseudonym), [0, 3])
  t.same(await seqs('--model', 'model-1', '--model', 'model-2'), [1, 2])
  t.same(await seqs('--status', 'denied', '--reason', 'r*', '--action', 'predict', '--org', 'acme', '--credential-id', 'c_1'), [1])
  t.same(await seqs('--since', '2026-11-02T00:00:00Z', '--until', '2026-11-04T00:00:00Z'), [1, 2])
  t.same(await seqs('--limit', '1'), [3])
})

t.test('people read lines, by name where the map is given, and nothing that moves their terminal', async (t) => {
  const { stdout } = await modelGuard('audit', 'query', log, '--identities', identities, '--limit', '3')
  t.equal(stdout, `4 records fit, the newest 3 are:
2026-11-02T00:00:00.000Z  1  predict  denied (rule)  model-1  bob
2026-11-03T00:00:00.000Z  2  predict  success  model-2  ann\\u001b[2J
2026-11-04T00:00:00.000Z  3  predict  success  model-3  ann
`)
  t.match((await modelGuard('audit', 'query', log, '--user-id', pseudonym)).stdout, `2 records fit:\n2026-11-01T00:00:00.000Z  0  predict  success  model-0  ${pseudonym}\n`)
  t.equal((await modelGuard('audit', 'query', log, '--model', 'none')).stdout, '0 records fit\n')
})

t.test('an export goes to a file of its owner, or is printed', async (t) => {
  const file = path.join(t.testdir(), 'export.csv')
  t.match(await modelGuard('audit', 'export', log, '--format', 'csv', '--output', file, '--status', 'denied'), { status: 0, stdout: '' })
  t.match(readFileSync(file, 'utf8'), /^seq,.*\r\n1,.*\r\n$/)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal((await modelGuard('audit', 'export', log)).stdout, readLines(log).map((line) => `${line}\n`).join(''))
})

t.test('whether something was sent is said by the exit status too', async (t) => {
  const found = await modelGuard('audit', 'find', log, '--identities', identities, '--input', input)
  t.match(found, { status: 0, stdout: /^4 times:\n.* 0 {2}predict {2}success {2}model-0 {2}ann\n.*bob\n/ })
  t.match(await modelGuard('audit', 'find', log, '--identities', identities, '--output', output, '--principal', 'bob', '--json'), { status: 0, stdout: /^\{"sent":\[\{"principal":"bob","record":\{.*"seq":1,/ })
  t.match(await modelGuard('audit', 'find', log, '--identities', identities, '--output', input), { status: 1, stdout: /^not found/ })
})

t.test('the index can be made beforehand, elsewhere', async (t) => {
  const index = path.join(t.testdir(), 'index')
  t.match(await modelGuard('audit', 'index', log, '--index', index), { status: 0, stdout: '0 records in the index, 0 of them new\n' })
})

t.test('a person is forgotten by a command when no server runs', async (t) => {
  const people = await openIdentities({ file: identities })
  t.match(await modelGuard('audit', 'forget', 'ann', '--identities', identities), { status: 1, stderr: /FMG_ERR_FILE: .*identities\.jsonl\.lock is held by process/ })
  await people.close()
  t.match(await modelGuard('audit', 'forget', 'ann', '--identities', identities, '--json'), { status: 0, stdout: `{"principal":"ann","pseudonym":"${pseudonym}","forgotten":true}` })
  t.match(await modelGuard('audit', 'forget', 'ann', '--identities', identities), { status: 1, stdout: 'nobody of this name is in the map\n' })
  t.match(await modelGuard('audit', 'find', log, '--identities', identities, '--input', input), { status: 0, stdout: /^2 times:/ })
  t.notMatch(readFileSync(identities, 'utf8'), new RegExp(`"ann"|${pseudonym}`))
  const none = path.join(t.testdir(), 'none')
  t.match(await modelGuard('audit', 'forget', 'ann', '--identities', none), { status: 1, stderr: /cannot read/ })
  t.notOk(existsSync(none))
})

t.test('what is asked wrongly is said', async (t) => {
  for (const [words, message] of [
    [['query', log, '--principal', 'ann'], /--identities is required/],
    [['query', log, '--principal', 'ann', '--user-id', 'u', '--identities', identities], /exclude each other/],
    [['query', log, '--limit', 'many'], /--limit is a number/],
    [['export', log, '--format', 'xml'], /--format is one of jsonl, csv, ocsf/],
    [['find', log, '--identities', identities], /either --input or --output/],
    [['find', log, '--identities', identities, '--input', 'a', '--output', 'b'], /either --input or --output/]
  ] as const) t.match(await modelGuard('audit', ...words), { status: 2, stderr: message })
})
