import t from 'tap'
import { freezePrincipal } from '../src/principal.ts'

t.test('no later hook can change who is asking', async (t) => {
  const roles = ['analyst']
  const principal = freezePrincipal({
    id: 'ann', type: 'user', tier: 'pro', roles, scopes: [], attributes: { team: { lead: 'bob' } }, credential: { method: 'api-key', id: 'k' }
  })
  t.throws(() => { Object.assign(principal, { id: 'eve' }) }, TypeError)
  t.throws(() => { roles.push('admin') }, TypeError)
  t.throws(() => { Object.assign(principal.attributes['team'] ?? {}, { lead: 'eve' }) }, TypeError)
  t.throws(() => { Object.assign(principal.credential, { id: 'other' }) }, TypeError)
})
