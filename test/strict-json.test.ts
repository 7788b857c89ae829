import t from 'tap'
import { parseStrictJson } from '../src/strict-json.ts'

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text))

t.test('an object is read as it is written', async (t) => {
  t.same(parse('{"a":[1,{"b":"\\u00e4"}],"c":{"a":null}}'), { a: [1, { b: 'ä' }], c: { a: null } })
})

t.test('what is no object is nothing', async (t) => {
  for (const text of ['[]', '"a"', '1', 'null', '', '{', '{"a":1}{}']) t.equal(parse(text), null, text)
})

t.test('a member that stands twice is refused, however it is spelt and wherever it stands', async (t) => {
  for (const text of ['{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '{"x":[{"a":1,"a":2}]}']) t.equal(parse(text), null, text)
  t.same(parse('{"a":"a","b":{"a":1}}'), { a: 'a', b: { a: 1 } })
})

t.test('a member that would become a prototype is refused', async (t) => {
  for (const text of ['{"__proto__":{"roles":["admin"]}}', '{"a":{"\\u005f_proto__":1}}']) t.equal(parse(text), null, text)
  t.same(parse('{"a":"__proto__"}'), { a: '__proto__' })
})

t.test('bytes that are not UTF-8, lone surrogates and deep nesting are refused', async (t) => {
  t.equal(parseStrictJson(Buffer.from('{"a":"\xff"}', 'latin1')), null)
  t.equal(parse('{"a":"\\ud800"}'), null)
  t.equal(parse(`{"a":${'['.repeat(16)}${']'.repeat(16)}}`), null)
  t.not(parse(`{"a":${'['.repeat(15)}${']'.repeat(15)}}`), null)
})
