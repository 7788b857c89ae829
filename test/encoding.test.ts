import t from 'tap'
import { canonicalJson, randomBase62, toBase62 } from '../src/encoding.ts'

t.test('canonical JSON sorts members by UTF-16 code units and leaves out what is undefined', async (t) => {
  t.equal(canonicalJson({ b: 1, a: [true, null, undefined, 'x\n'], '\u20ac': 1e21, '\u{1f600}': -0, skipped: undefined }),
    '{"a":[true,null,null,"x\\n"],"b":1,"€":1e+21,"😀":0}')
})

t.test('what JSON cannot hold has no canonical form', async (t) => {
  for (const value of [NaN, Infinity, 1n, () => 1, Symbol('s'), '\ud800', { '\udc00': 1 }, [() => 1]]) {
    t.throws(() => canonicalJson(value), TypeError)
  }
})

t.test('random base62 has the length asked for and every character of the alphabet', async (t) => {
  const text = randomBase62(20_000)
  t.match(text, /^[0-9A-Za-z]{20000}$/)
  t.equal(new Set(text).size, 62)
})

t.test('numbers in base62 are padded on the left', async (t) => {
  t.equal(toBase62(0, 6), '000000')
  t.equal(toBase62(61, 2), '0z')
  t.equal(toBase62(0xffffffff, 6), '4gfFC3')
})
