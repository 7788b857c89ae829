import t from 'tap'
import { simulate } from '../../helpers/month/simulate.ts'

t.test('every incident of a month raises its alert in time, and few others are raised', async (t) => {
  const { delays, falseAlerts } = simulate({ seed: 2001, share: 0.15 })
  for (const [incident, hours] of delays) t.ok(hours !== undefined, incident)
  t.equal(delays.size, 6)
  t.ok(falseAlerts.length < 27, `${falseAlerts.length} of 53 identities, fewer than one of two`)
})
