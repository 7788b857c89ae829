import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { appendAll, openTestLog, readLines, verifierKey } from '../audit/log-fixture.ts'
import { modelGuard } from '../helpers/command.ts'

interface Made {
  /** The folder of a log of 20 records. */
  readonly log: string
  readonly key: string
  readonly at: (name: string) => string
}

async function make (t: Test): Promise<Made> {
  const folder = t.testdir({ 'log.vkey': `${verifierKey}\n` })
  const at = (name: string): string => path.join(folder, name)
  const log = await openTestLog(at('log'))
  await appendAll(log, 0, 20)
  await log.close()
  return { log: at('log'), key: at('log.vkey'), at }
}

t.test('a proof is written, and verified elsewhere with the line and the key alone', async (t) => {
  const { log, key, at } = await make(t)
  const line = readLines(log)[7] ?? ''
  t.match(await modelGuard('audit', 'prove', log, '7', '--verifier-key', key, '--output', at('7.tlog-proof'), '--record', at('7.json')), {
    status: 0, stdout: `the proof is in ${at('7.tlog-proof')}\nthe line is in ${at('7.json')}\n`
  })
  t.equal(readFileSync(at('7.json'), 'utf8'), line)
  const verify = ['audit', 'verify-proof', at('7.tlog-proof'), '--record', at('7.json'), '--verifier-key', key]
  t.match(await modelGuard(...verify), { status: 0, stdout: 'the line is record 7 of example.com/audit, under its checkpoint of 20 records\n' })
  writeFileSync(at('7.json'), `${line}\n`)
  t.same(JSON.parse((await modelGuard(...verify, '--json')).stdout), { ok: true, seq: 7, origin: 'example.com/audit', checkpointSize: 20, witnesses: [] }, 'also with a line feed')
  writeFileSync(at('7.json'), readLines(log)[8] ?? '')
  t.match(await modelGuard(...verify), { status: 1, stdout: '', stderr: /^FMG_ERR_LOG_INCONSISTENT: .*this is not record 7 of the first 20/ })
})

t.test('a proof is printed as it would be written, and as JSON with its line', async (t) => {
  const { log, at } = await make(t)
  const { stdout } = await modelGuard('audit', 'prove', log, '3')
  t.equal((await modelGuard('audit', 'prove', log, '3', '--output', at('p'))).status, 0)
  t.equal(stdout, readFileSync(at('p'), 'utf8'))
  t.same(JSON.parse((await modelGuard('audit', 'prove', log, '3', '--json')).stdout), { seq: 3, record: readLines(log)[3], proof: stdout })
})

t.test('a line that the log no longer keeps cannot be written, only proven', async (t) => {
  const { log, at } = await make(t)
  const bundle = path.join(log, 'tile/entries/000.p/20')
  t.ok(existsSync(bundle))
  rmSync(bundle)
  t.match(await modelGuard('audit', 'prove', log, '3', '--record', at('line')), { status: 1, stdout: /the log no longer keeps the line\n$/ })
  t.match(await modelGuard('audit', 'prove', log, '3', '--json'), { status: 0 })
  t.notOk(existsSync(at('line')))
})

t.test('what cannot be proven is said', async (t) => {
  const { log, key, at } = await make(t)
  t.match(await modelGuard('audit', 'prove', log, '20'), { status: 1, stderr: /FMG_ERR_OPTION_INVALID.*seq must be below 20/ })
  t.match(await modelGuard('audit', 'prove', log, 'x'), { status: 2, stderr: /SEQ is the number of a record, not x\nusage: model-guard audit prove FOLDER SEQ/ })
  t.match(await modelGuard('audit', 'prove', log, '3', '--checkpoint', key), { status: 1, stderr: /FMG_ERR_LOG_INCONSISTENT/ })
  t.match(await modelGuard('audit', 'prove', at('nowhere'), '3'), { status: 1, stderr: /FMG_ERR_FILE/ })
  t.match(await modelGuard('audit', 'verify-proof', key), { status: 2, stderr: /--record is required/ })
})
