import t from 'tap'
import { parseYaml } from '../src/yaml-text.ts'

t.test('a text that can be read in two ways is refused, with its place', async (t) => {
  t.same(parseYaml('a: [1, x]\n', 'f.yaml'), { a: [1, 'x'] })
  t.same(parseYaml('{"a": 1}', 'f.json'), { a: 1 })
  t.equal(parseYaml('', 'f.yaml'), null)
  const cases: Readonly<Record<string, RegExp>> = {
    'a: [\n': /f\.yaml: .* at line 2/,
    'a: 1\na: 2\n': /f\.yaml: Map keys must be unique at line 2/,
    'a: &x 1\nb: *x\n': /f\.yaml: an alias is not taken here/,
    'a: !!js/function x\n': /f\.yaml: Unresolved tag/,
    'a: 1\n---\nb: 2\n': /f\.yaml: .*multiple documents/
  }
  for (const [text, message] of Object.entries(cases)) t.throws(() => parseYaml(text, 'f.yaml'), { code: 'FMG_ERR_OPTION_INVALID', message }, text)
  t.equal(Reflect.get(Object(parseYaml('__proto__: { admin: true }', 'f.yaml')), 'admin'), undefined)
})
