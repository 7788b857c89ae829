import t from 'tap'
import {
  anyThat, boolean, functionOf, havingMethods, integer, listOf, nearestWord, object, oneOf, optional, optionInvalid, recordOf, string, withDefault
} from '../src/options.ts'

const read = object({
  name: string(/^[a-z]+$/, 'a lower-case word'),
  size: withDefault(integer({ min: 1, max: 9 }), 3),
  deep: optional(object({ flags: listOf(boolean), kind: oneOf('a', 'b') }))
})

const refused = (message: string) => ({ code: 'FMG_ERR_OPTION_INVALID', message: `option invalid: ${message}` })

t.test('options are read into a frozen object, with defaults, and the given one is not changed', async (t) => {
  const given = { name: 'x', deep: { flags: [true], kind: 'a' } }
  const options = read(given, 'plugin')
  t.same(options, { name: 'x', size: 3, deep: { flags: [true], kind: 'a' } })
  t.ok(Object.isFrozen(options) && Object.isFrozen(options.deep) && Object.isFrozen(options.deep?.flags))
  t.same(given, { name: 'x', deep: { flags: [true], kind: 'a' } })
})

t.test('wrong values are refused with their path and without their text', async (t) => {
  const cases: [unknown, string][] = [
    [{ name: '' }, 'plugin.name must be a lower-case word, got a string'],
    [{ name: 'SECRET' }, 'plugin.name must be a lower-case word, got a string'],
    [{}, 'plugin.name must be a lower-case word, got nothing'],
    [{ name: 'x', size: 10 }, 'plugin.size must be a whole number from 1 to 9, got 10'],
    [{ name: 'x', size: 1.5 }, 'plugin.size must be a whole number from 1 to 9, got 1.5'],
    [{ name: 'x', size: '1' }, 'plugin.size must be a whole number from 1 to 9, got a string'],
    [{ name: 'x', deep: { flags: [true, 1], kind: 'a' } }, 'plugin.deep.flags[1] must be true or false, got 1'],
    [{ name: 'x', deep: { flags: {}, kind: 'a' } }, 'plugin.deep.flags must be a list, got an object'],
    [{ name: 'x', deep: { flags: [], kind: 'c' } }, 'plugin.deep.kind must be one of a, b, got a string'],
    [{ name: 'x', deep: [] }, 'plugin.deep must be an object, got a list'],
    [null, 'plugin must be an object, got null']
  ]
  for (const [value, message] of cases) t.throws(() => read(value, 'plugin'), refused(message))
  t.throws(() => integer({ min: 2 })(1, 'n'), refused('n must be a whole number of at least 2, got 1'))
})

t.test('an unknown member is refused, with the word that was probably meant', async (t) => {
  t.throws(() => read({ name: 'x', siez: 1 }, 'plugin'), refused('plugin.siez is not an option; did you mean size?'))
  t.throws(() => read({ name: 'x', colour: 1 }, 'plugin'), refused('plugin.colour is not an option; known are name, size, deep'))
  t.throws(() => read(JSON.parse('{"name":"x","__proto__":{}}'), 'plugin'), { code: 'FMG_ERR_OPTION_INVALID' })
  t.equal(nearestWord('predct', ['read', 'predict']), 'predict')
  t.equal(nearestWord('xyz', []), undefined)
  t.equal(nearestWord('ab', ['']), '')
  t.equal(nearestWord('abc', ['']), undefined)
  t.equal(nearestWord('gumbo', ['gambol', 'gumbos']), 'gumbos')
})

t.test('names of the user\'s choosing never reach a prototype', async (t) => {
  const record = recordOf(integer({ min: 0 }))(JSON.parse('{"constructor":1,"__proto__":2}'), 'tiers')
  t.equal(record['constructor'], 1)
  t.notOk('toString' in record)
  t.throws(() => recordOf(integer({ min: 0 }))({ a: 'x' }, 'tiers'), refused('tiers.a must be a whole number of at least 0, got a string'))
})

t.test('functions and structural interfaces are known by what they can do', async (t) => {
  const store = { find: () => null }
  t.equal(havingMethods<typeof store>('find')(store, 'store'), store)
  t.throws(() => havingMethods<typeof store>('find')({ find: 1 }, 'store'), refused('store must be an object with find, got an object'))
  t.throws(() => havingMethods<typeof store>('find')(null, 'store'), refused('store must be an object with find, got null'))
  t.equal(functionOf<() => number>()(Date.now, 'clock'), Date.now)
  t.throws(() => functionOf()(1, 'clock'), refused('clock must be a function, got 1'))
  t.throws(() => anyThat((value): value is Date => value instanceof Date, 'a date')('now', 'at'), refused('at must be a date, got a string'))
  t.match(optionInvalid('a', 'b', []), refused('a must be b, got a list'))
})
