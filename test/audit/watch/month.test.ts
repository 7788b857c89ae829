import t from 'tap'
import { simulate } from '../../helpers/month/simulate.ts'

t.test('every incident of a month raises its alert in time, and few others are raised', async (t) => {
  for (const seed of [2001, 2002]) {
    const { delays, falseAlerts } = simulate({ seed, share: 0.15 })
    for (const [incident, hours] of delays) t.ok(hours !== undefined, `seed ${seed}: ${incident}`)
    t.equal(delays.size, 6)
    t.ok(falseAlerts.length < 20, `seed ${seed}: ${falseAlerts.length} of 53 identities, where docs/anomaly.md says 0.15 an identity`)
  }
})
