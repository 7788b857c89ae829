import fc from 'fast-check'
import t from 'tap'
import { parseSpiffeId } from '../../src/authn/spiffe-id.ts'

const long = (letters: number): string => 'a'.repeat(letters)

t.test('a SPIFFE ID is read into its trust domain and path', async (t) => {
  for (const [text, trustDomain, path] of [
    ['spiffe://prod.example', 'prod.example', ''],
    ['spiffe://prod.example/scorer', 'prod.example', '/scorer'],
    ['spiffe://prod.example/ns/ml/sa/scorer', 'prod.example', '/ns/ml/sa/scorer'],
    ['spiffe://a-b_c.1/Az0-9._', 'a-b_c.1', '/Az0-9._'],
    ['spiffe://prod.example/...', 'prod.example', '/...'],
    [`spiffe://${long(255)}/x`, long(255), '/x'],
    [`spiffe://a/${long(2037)}`, 'a', `/${long(2037)}`]
  ] as const) t.same(parseSpiffeId(text), { trustDomain, path }, text)
})

t.test('whatever is not exactly a SPIFFE ID is none', async (t) => {
  for (const text of [
    '', 'spiffe', 'spiffe:', 'spiffe:/', 'spiffe://', 'spiffe:///', 'spiffe:///path', 'spiffe:/prod.example', 'https://prod.example/x', 'SPIFFE://prod.example/x', ' spiffe://a/x',
    'spiffe://Prod.example/x', 'spiffe://prod.example:443/x', 'spiffe://user@prod.example/x', 'spiffe://prod%2eexample/x', 'spiffe://[::1]/x', 'spiffe://prod example/x', 'spiffe://prødexample/x',
    'spiffe://prod.example/', 'spiffe://prod.example//', 'spiffe://prod.example/a/', 'spiffe://prod.example//a', 'spiffe://prod.example/./a', 'spiffe://prod.example/a/..', 'spiffe://prod.example/../a',
    'spiffe://prod.example/a%20b', 'spiffe://prod.example/ä', 'spiffe://prod.example/a b', 'spiffe://prod.example/a?b', 'spiffe://prod.example?b', 'spiffe://prod.example/a#b', 'spiffe://prod.example/a\n',
    'spiffe://prod.example/a\u0000', 'spiffe://prod.example/a:b', 'spiffe://prod.example\\a', `spiffe://${long(256)}/x`, `spiffe://a/${long(2038)}`
  ]) t.equal(parseSpiffeId(text), null, JSON.stringify(text).slice(0, 60))
})

t.test('what was read is what was written: no two texts are one ID', async (t) => {
  const letters = fc.stringMatching(/^[A-Za-z0-9._/%: ?#-]{0,20}$/)
  fc.assert(fc.property(letters, (rest) => {
    const id = parseSpiffeId(`spiffe://${rest}`)
    return id === null || `spiffe://${id.trustDomain}${id.path}` === `spiffe://${rest}`
  }))
  t.pass()
})
