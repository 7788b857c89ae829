import t from 'tap'
import type { Alert } from '../../../src/audit/watch/alert.ts'
import { reactions, type ReactionPlan } from '../../../src/audit/watch/reactions.ts'

const alertAt = (time: number, more: Partial<Alert> = {}): Alert => ({ id: `volume-${time}`, rule: 'volume', subject: 'u_1', kind: 'principal', time, measured: 1, threshold: 1, evidence: [], silenced: 0, ...more })
const plan = (action: ReactionPlan['action'], seconds = 10, mode: ReactionPlan['mode'] = 'enforce'): ReactionPlan => ({ action, seconds, mode })

t.test('what an alert leads to begins with it, is over in time, and is lifted before', async (t) => {
  let now = 1000
  const all = reactions({ maxSubjects: 10, clock: () => now })
  t.match(all.begin(alertAt(1000), [plan('suspend'), plan('coarsen', 100)]), [{ subject: 'u_1', action: 'suspend', rule: 'volume', alert: 'volume-1000', from: 1000, until: 11_000, mode: 'enforce' }, { action: 'coarsen', until: 101_000 }])
  t.same(all.of('u_2'), [])
  t.equal(all.of('u_1').length, 2)
  now = 11_000
  t.same(all.of('u_1').map(({ action }) => action), ['coarsen'])
  t.match(all.lift('u_1'), [{ action: 'coarsen' }])
  t.same([all.of('u_1'), all.list(), all.lift('u_1')], [[], [], []])
})

t.test('one action is lifted alone, and what is over is forgotten', async (t) => {
  let now = 0
  const all = reactions({ maxSubjects: 10, clock: () => now })
  all.begin(alertAt(0), [plan('suspend'), plan('coarsen')])
  t.match(all.lift('u_1', 'suspend'), [{ action: 'suspend' }])
  t.same(all.of('u_1').map(({ action }) => action), ['coarsen'])
  now = 20_000
  t.same(all.list(), [])
})

t.test('a later alert makes it longer, never shorter; of what is over already nothing begins', async (t) => {
  const all = reactions({ maxSubjects: 10, clock: () => 5000 })
  all.begin(alertAt(1000), [plan('suspend', 100)])
  t.same(all.begin(alertAt(2000), [plan('suspend', 10)]), [])
  t.match(all.begin(alertAt(3000), [plan('suspend', 100)]), [{ until: 103_000, from: 3000 }])
  t.equal(all.of('u_1').length, 1)
  t.equal(all.begin(alertAt(3000), [plan('suspend', 200, 'shadow')]).length, 1, 'a shadow beside it')
  t.equal(all.begin(alertAt(3000), [plan('coarsen', 100)]).length, 1, 'and another action')
  t.equal(all.of('u_1').length, 3)
  t.same(all.begin(alertAt(0), [plan('tighten', 5)]), [])
  t.same(all.begin(alertAt(0), []), [])
})

t.test('beyond so many identities the one that ends first is let go', async (t) => {
  const all = reactions({ maxSubjects: 2, clock: () => 0 })
  all.begin(alertAt(0, { subject: 'u_long' }), [plan('suspend', 100), plan('coarsen', 1)])
  all.begin(alertAt(0, { subject: 'u_short' }), [plan('suspend', 50)])
  all.begin(alertAt(0, { subject: 'u_new' }), [plan('suspend', 70)])
  t.same(all.list().map(({ subject, until }) => [subject, until]), [['u_long', 100_000], ['u_new', 70_000], ['u_long', 1000]])
  all.begin(alertAt(0, { subject: 'u_new' }), [plan('suspend', 80)])
  t.equal(all.list().length, 3, 'who is there needs no room')
})
