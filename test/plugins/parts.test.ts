import t from 'tap'
import { addressPrefix } from '../../src/plugins/address.ts'
import { turnstile } from '../../src/plugins/turnstile.ts'
import { asPrincipal, testAuthenticator } from '../../src/testing.ts'
import { requestFacts } from '../helpers/facts.ts'

t.test('an address is known by the network that one subscriber is given', async (t) => {
  const cases = {
    '192.0.2.7': '192.0.2.0/24',
    '::ffff:192.0.2.7': '192.0.2.0/24',
    '::FFFF:192.0.2.7': '192.0.2.0/24',
    '::1': '0:0:0:0::/64',
    '2001:db8::1': '2001:db8:0:0::/64',
    '2001:0DB8:0001:0002:3:4:5:6': '2001:db8:1:2::/64',
    'fe80::1%eth0': 'fe80:0:0:0::/64',
    '2001:db8:1:2:3::': '2001:db8:1:2::/64',
    '': 'unknown',
    'not an address': 'unknown'
  }
  for (const [address, prefix] of Object.entries(cases)) t.equal(addressPrefix(address), prefix, address)
})

t.test('a turnstile tells when all have left, and does not wait for ever', async (t) => {
  const doors = turnstile()
  await doors.empty(10_000)
  doors.enter()
  doors.enter()
  const empty = doors.empty(60_000)
  doors.leave()
  doors.leave()
  await empty
  doors.enter()
  await doors.empty(1)
})

t.test('a principal of a test is believed by its own process alone', async (t) => {
  const authenticator = testAuthenticator()
  const { authorization = '' } = asPrincipal({ id: 'ann', roles: ['admin'], attributes: { a: 1 } }).headers
  const value = authorization.slice('Test '.length)
  t.match(await authenticator.authenticate({ scheme: 'test', value }, requestFacts()), { id: 'ann', type: 'user', roles: ['admin'], tier: 'standard', credential: { id: 'test-ann' } })
  t.equal(await authenticator.authenticate({ scheme: 'bearer', value }, requestFacts()), null)
  const [claims = '', tag = ''] = value.split('.')
  const other = Buffer.from('{"id":"eve"}').toString('base64url')
  for (const forged of [`${other}.${tag}`, `${claims}.`, claims, `${claims}.${Buffer.alloc(32).toString('base64url')}`, '']) {
    t.throws(() => authenticator.authenticate({ scheme: 'test', value: forged }, requestFacts()), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
  }
})
