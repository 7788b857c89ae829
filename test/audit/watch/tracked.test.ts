import t from 'tap'
import { tracked } from '../../../src/audit/watch/tracked.ts'
import { day, hour, only, start } from './watch-fixture.ts'

t.test('a flood of made-up identities drives out neither who is established nor who is busy', async (t) => {
  const made: string[] = []
  const all = tracked(80, (subject) => made.push(subject))
  const old = Array.from({ length: 3 }, (_, index) => all.of('old', start + index * day)).at(-1)
  const busy = Array.from({ length: 16 }, () => all.of('busy', start + 3 * day)).at(-1)
  const once = all.of('once', start + 3 * day)
  for (let index = 0; index < 1000; index++) all.of(`made-up-${index}`, start + 3 * day)
  t.equal(all.of('old', start + 3 * day), old)
  t.equal(all.of('busy', start + 3 * day), busy)
  t.not(all.of('once', start + 3 * day), once, 'who was there once is forgotten')
  t.same([all.isEstablished('old'), all.isEstablished('busy')], [true, false])
})

t.test('a rank that is full forgets the one of its own that was longest away', async (t) => {
  const made: string[] = []
  const all = tracked(8, (subject) => made.push(subject))
  const settle = (subject: string, at: number): number => Array.from({ length: 3 }, (_, index) => all.of(subject, at + index * day)).at(-1) ?? 0
  for (let index = 0; index < 6; index++) settle(`old-${index}`, start + index * hour)
  all.of('old-0', start + 10 * day)
  settle('newer', start + 11 * day)
  t.ok(all.isEstablished('old-0'))
  t.notOk(all.isEstablished('old-1'), 'six of eight are established ones')
  t.ok(all.isEstablished('newer'))
})

t.test('a rank has room for one, however small the whole', async (t) => {
  const all = tracked(8, (subject) => subject)
  t.equal(all.of('a', start), 'a')
})

t.test('an identity flood hides nothing: what a busy one has done stays counted, and memory is bounded', async (t) => {
  const { ask } = only('ceiling', { requests: 100, windowSeconds: 3600 }, { maxIdentities: 80 })
  let alerts = 0
  for (let index = 0; index < 101; index++) {
    alerts += ask(start + index * 1000).length
    // Below sixteen requests it is one of the crowd: from then on, no number of others counts.
    if (index >= 16) for (let other = 0; other < 20; other++) ask(start + index * 1000, { user_id: `u_made-up-${index}-${other}` })
  }
  t.equal(alerts, 1)
})

t.test('strangers drive out no principal', async (t) => {
  const { ask } = only('ceiling', { requests: 5, windowSeconds: 3600 }, { maxIdentities: 8, maxAddresses: 8 })
  for (let index = 0; index < 5; index++) ask(start)
  for (let index = 0; index < 100; index++) ask(start, { user_id: undefined, status: 'unauthenticated', http_status: 401, detail: { address: `a${index}` } })
  t.equal(ask(start).length, 1)
})

t.test('models beyond 256 share what is known of inputs', async (t) => {
  const { ask } = only('coverage', { minStrange: 1 }, { learnInputs: 1, learnIdentities: 1 })
  for (let model = 0; model < 300; model++) t.same(ask(start, { model_id: `m${model}`, user_id: `u_${model}` }), [])
})
