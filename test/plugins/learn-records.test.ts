import t from 'tap'
import { learnRecords } from '../../src/plugins/learn-records.ts'
import { handMade } from '../helpers/recorded.ts'

const now = Date.UTC(2026, 10, 22, 13)
const record = { timestamp: new Date(now).toISOString(), action: 'predict', status: 'success' } as const
const clock = (): number => now

t.test('what is made while the log is read comes after it, and nothing comes twice', async (t) => {
  const directory = await handMade(t, [{}, {}, { timestamp: '2026-11-01T00:00:00.000Z' }])
  const seen: unknown[] = []
  const learning = learnRecords({ directory, days: 1, clock, recall: (_record, seq) => { seen.push([seq, false]) }, see: (_record, seq) => { seen.push([seq, true]) }, onError: (error) => { t.fail(String(error)) } })
  for (const seq of [2, 3, 4]) t.equal(learning.keep(record, seq), true)
  await learning.done
  t.same(seen, [[0, false], [1, false], [2, true], [3, true], [4, true]], 'of what stands in the log already and is new, the new one counts')
  t.equal(learning.keep(record, 5), false)
})

t.test('a record that is told of late is not seen again', async (t) => {
  const directory = await handMade(t, [{}, {}])
  const seen: number[] = []
  const learning = learnRecords({
    directory,
    days: 1,
    clock,
    onError: (error) => { t.fail(String(error)) },
    recall: (_record, seq) => {
      seen.push(seq)
      if (seq === 2) for (const late of [2, 3]) learning.keep(record, late)
    },
    see: (_record, seq) => { seen.push(seq) }
  })
  await learning.done
  t.same(seen, [0, 1, 2, 3])
})

t.test('of more than may wait the first are let go', async (t) => {
  const directory = await handMade(t, [])
  const seen: number[] = []
  const learning = learnRecords({ directory, days: 1, clock, maxWaiting: 2, onError: (error) => { t.fail(String(error)) }, recall: (_record, seq) => { seen.push(seq) }, see: (_record, seq) => { seen.push(seq) } })
  for (const seq of [10, 11, 12]) learning.keep(record, seq)
  await learning.done
  t.same(seen, [0, 11, 12])
})

t.test('it stops when it is told, and says what it could not read', async (t) => {
  const directory = await handMade(t, [{}, {}])
  const seen: number[] = []
  const learning = learnRecords({ directory, days: 1, clock, onError: (error) => { t.fail(String(error)) }, recall: (_record, seq) => { seen.push(seq) }, see: (_record, seq) => { seen.push(seq) } })
  learning.keep(record, 9)
  await learning.stop()
  t.same(seen, [])
  const errors: unknown[] = []
  const missing = learnRecords({ directory: t.testdir(), days: 1, clock, onError: (error) => { errors.push(error) }, recall: () => undefined, see: () => undefined })
  await missing.done
  t.match(errors, [{ code: 'FMG_ERR_FILE' }])
})
