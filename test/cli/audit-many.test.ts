import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { formatVerifierKey } from '../../src/audit/note.ts'
import { appendAll, openTestLog, record, segmentNames, signer } from '../audit/log-fixture.ts'
import { modelGuard } from '../helpers/command.ts'
import { until } from '../helpers/until.ts'

t.test('the logs of many nodes are verified together, each by its own key, and none is passed over', async (t) => {
  const origins = ['node-1.example/audit', 'node-2.example/audit']
  const [first = '', second = ''] = origins.map((origin) => formatVerifierKey(origin, signer.publicKey))
  const folder = t.testdir({ keys: `${second}\n${first}\n`, 'first.vkey': first, 'second.vkey': `${second}\n`, 'other.vkey': formatVerifierKey('other.example/audit', signer.publicKey), since: 'x' })
  const at = (name: string): string => path.join(folder, name)
  for (const [index, origin] of origins.entries()) {
    const log = await openTestLog(at(`node-${index + 1}`), { origin })
    await appendAll(log, 0, 5 + index)
    await log.close()
  }
  const logs = [at('node-1'), at('node-2')]
  for (const keys of [['--verifier-key', at('keys')], ['--verifier-key', at('first.vkey'), '--verifier-key', at('second.vkey')]]) {
    const { status, stdout } = await modelGuard('audit', 'verify', ...logs, ...keys)
    t.equal(status, 0)
    t.match(stdout, /node-1: the log holds: 5 records, 5 under the checkpoint, its signature verified\n[^]*node-2: the log holds: 6 records, 6 under the checkpoint, its signature verified\n/)
  }
  t.match(await modelGuard('audit', 'verify', at('node-1'), '--verifier-key', at('keys')), { status: 0, stdout: /^the log holds: 5 records/ })
  for (const key of ['first.vkey', 'other.vkey']) {
    const { status, stdout } = await modelGuard('audit', 'verify', ...logs, '--verifier-key', at(key), '--json')
    t.equal(status, 1, 'a log whose key is not given does not hold')
    t.match(JSON.parse(stdout), { ok: false, logs: [{ directory: at('node-1'), ok: key === 'first.vkey' }, { directory: at('node-2'), ok: false, signature: 'invalid' }] })
  }
  t.match(await modelGuard('audit', 'verify', ...logs, at('none'), '--verifier-key', at('keys')), { status: 1, stderr: /FMG_ERR_FILE/ })
  rmSync(path.join(at('node-1'), 'segments', segmentNames(at('node-1'))[0] ?? ''))
  t.match(await modelGuard('audit', 'verify', ...logs, '--verifier-key', at('keys')), { status: 1, stdout: /node-1: the log does NOT hold[^]*record 0 is missing[^]*node-2: the log holds/ })
  t.match(await modelGuard('audit', 'verify'), { status: 2, stderr: /1 words wanted \(FOLDER…\), 0 given/ })
  t.match(await modelGuard('audit', 'verify', ...logs, '--since', at('since')), { status: 2, stderr: /--since is the checkpoint of one log/ })
})

t.test('what is no longer kept is said', async (t) => {
  const directory = path.join(t.testdir(), 'log')
  let now = 0
  const log = await openTestLog(directory, { clock: () => now, retainSeconds: 86_400 })
  for (const day of [0, 2, 4]) {
    now = day * 86_400_000
    for (let index = 0; index < 300; index++) log.append({ ...record(index), timestamp: new Date(now).toISOString() }, () => {})
    await log.checkpoint()
  }
  await until(() => existsSync(path.join(directory, 'retired')))
  await log.close()
  t.match(await modelGuard('audit', 'verify', directory), { status: 0, stdout: /the log holds: 901 records[^]*\nrecords before 300 are no longer kept, as a record in it says; their hashes are\n/ })
})
