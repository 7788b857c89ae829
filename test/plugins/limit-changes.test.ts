import path from 'node:path'
import t from 'tap'
import { readBackoff } from '../../src/limits/block.ts'
import { fileExceptions } from '../../src/limits/file-exceptions.ts'
import { memoryBlocks } from '../../src/limits/memory-blocks.ts'
import { recordLimitChanges } from '../../src/plugins/limit-changes.ts'
import { auditIn, recordsIn } from '../helpers/guard.ts'
import { until } from '../helpers/until.ts'
import { by, pepper, raiseOf } from '../limits/exceptions-suite.ts'

const tiers = { tiers: { pro: { windows: [{ name: 'minute', quota: 2, windowSeconds: 60 }], models: { fraud: { windows: [{ name: 'fraud', quota: 2, windowSeconds: 60 }] } } } }, defaultTier: 'pro' }

t.test('every change is recorded by pseudonyms, with who asked and who approved, before it is answered', async (t) => {
  const folder = t.testdir()
  const { log, identities } = await auditIn(folder)
  const blocks = memoryBlocks({ now: () => 1_000_000 })
  const exceptions = await fileExceptions({ file: path.join(folder, 'exceptions.json'), pepper })
  t.teardown(() => exceptions.close())
  await recordLimitChanges({ log, identities, blocks, exceptions, tiers })
  const lastRecord = (): Record<string, unknown> => recordsIn(folder).at(-1) ?? {}
  const pseudonym = (id: string): string => identities.principal(id).pseudonym

  await blocks.block('eve', readBackoff({}, 'backoff'))
  t.match(lastRecord(), { action: 'limit:block', status: 'success', reason: 'repeated-violations', user_id: pseudonym('eve'), detail: { seconds: 30, until: '1970-01-01T00:17:10.000Z', level: 1 } })
  await blocks.lift('eve', by)
  t.match(lastRecord(), { action: 'limit:unblock', status: 'success', reason: 'operator', user_id: pseudonym('eve'), detail: { requested_by: pseudonym('ann'), approved_by: pseudonym('bob') } })
  await exceptions.raise(raiseOf('eve', { models: { fraud: { fraud: 7 } }, until: Date.parse('2100-01-01T00:00:00Z') }))
  t.match(lastRecord(), {
    action: 'limit:raise',
    reason: 'operator',
    user_id: pseudonym('eve'),
    detail: { quotas: { minute: 1200 }, models: { fraud: { fraud: 7 } }, until: '2100-01-01T00:00:00.000Z', requested_by: pseudonym('ann'), approved_by: pseudonym('bob'), reason_hash: identities.principal('eve').digests.digest('reason', 'a launch') }
  })
  t.notOk('without_effect' in Object(lastRecord()['detail']))
  await exceptions.end('eve', { requestedBy: 'carol', approvedBy: 'dave' })
  t.match(lastRecord(), { action: 'limit:end', reason: 'operator', user_id: pseudonym('eve'), detail: { requested_by: pseudonym('carol'), approved_by: pseudonym('dave') } })
  const text = JSON.stringify(recordsIn(folder))
  for (const name of ['"eve"', '"ann"', '"bob"', 'launch']) t.notMatch(text, name)
  await log.close()
  await identities.close()
  await t.rejects(exceptions.raise(raiseOf('eve')), { code: 'FMG_ERR_AUDIT_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '5' } })
})

t.test('what a command changed is recorded by the server that follows, and what is in force by one that starts', async (t) => {
  const folder = t.testdir()
  const file = path.join(folder, 'exceptions.json')
  const command = await fileExceptions({ file, pepper })
  t.teardown(() => command.close())
  await command.raise(raiseOf('early', { quotas: { minute: 5, hour: 5 }, models: { fraud: { minute: 5 }, digits: { fraud: 5 } } }))
  const { log, identities } = await auditIn(folder)
  const exceptions = await fileExceptions({ file, pepper, heartbeatMs: 20 })
  t.teardown(() => exceptions.close())
  await recordLimitChanges({ log, identities, exceptions, tiers })
  t.match(recordsIn(folder), [{ action: 'limit:raise', reason: 'in-force-at-start', user_id: identities.principal('early').pseudonym, detail: { without_effect: ['hour', 'fraud', 'minute'] } }])
  await command.raise(raiseOf('late'))
  await until(() => recordsIn(folder).length === 2)
  await command.end('late', by)
  await until(() => recordsIn(folder).length === 3)
  t.match(recordsIn(folder).slice(1), [{ action: 'limit:raise', reason: 'operator' }, { action: 'limit:end' }])
  await exceptions.close()
  await recordLimitChanges({ log, identities })
  await recordLimitChanges({ log, identities, exceptions: command })
  t.notOk('without_effect' in Object(recordsIn(folder).at(-1)?.['detail']), 'names are not known')
  await log.close()
  await identities.close()
})
