import fc from 'fast-check'
import t from 'tap'
import { isInScope, isNarrower, isScope, readScopes, scopeFor } from '../src/scope.ts'

const predict = (id: string) => ({ type: 'model', action: 'predict', id })

t.test('a scope names a type, an action and perhaps an id, in characters that OAuth allows', async (t) => {
  for (const scope of ['model:predict', 'model:predict:fraud-*', 'model:*', '*:*', 'key:read:urn:a:b', 'model:predict:a/b']) t.ok(isScope(scope), scope)
  for (const word of ['', '*', 'model', 'model:', ':predict', 'model:predict:', 'model:pre dict', 'model:predict:a"b', 'model:predict:a\\b', 'model:predict:é', 'model:predict:a\n', `model:predict:${'a'.repeat(500)}`]) t.notOk(isScope(word), word)
  t.same(readScopes(['model:read'], 'scopes'), ['model:read'])
  t.throws(() => readScopes(['model:read', 'digits'], 'scopes'), { code: 'FMG_ERR_OPTION_INVALID', message: /scopes\[1\] must be a scope like model:predict/ })
})

t.test('a scope is about what each of its parts matches, and nothing else', async (t) => {
  t.ok(isInScope(['model:read', 'model:predict'], predict('fraud')))
  t.ok(isInScope(['model:predict:fraud-*'], predict('fraud-eu')))
  t.ok(isInScope(['*:pre*:fraud'], predict('fraud')))
  t.notOk(isInScope([], predict('fraud')))
  t.notOk(isInScope(['model:read', 'key:predict', 'model:predict:frau', 'model:predict:fraud-*', 'mode:predict', 'model:predic'], predict('fraud')))
  t.notOk(isInScope(['predict', '*', 'model'], predict('fraud')), 'what is no scope is about nothing')
})

t.test('a scope is narrower when nothing is in it that was not in one of the others', async (t) => {
  const table: readonly (readonly [scope: string, of: readonly string[], narrower: boolean])[] = [
    ['model:predict:fraud', ['model:predict'], true],
    ['model:predict', ['model:predict'], true],
    ['model:predict', ['model:predict:*'], true],
    ['model:predict:fraud-eu-*', ['model:predict:fraud-*'], true],
    ['model:predict:fraud-*', ['model:*'], true],
    ['model:predict', ['model:predict:fraud-*'], false],
    ['model:*', ['model:predict'], false],
    ['*:*', ['model:*'], false],
    ['model:predict:fr*', ['model:predict:fraud-*'], false],
    ['model:predict:*-fraud', ['model:predict:fraud-*'], false],
    ['model:read', ['model:predict'], false],
    ['model:read', [], false]
  ]
  for (const [scope, of, narrower] of table) t.equal(isNarrower(scope, of), narrower, `${scope} of ${of.join(' ')}`)
})

t.test('law: what is in a narrower scope is in the wider ones', async (t) => {
  const word = fc.stringMatching(/^[ab*]{1,4}$/)
  const scope = fc.oneof(fc.tuple(word, word), fc.tuple(word, word, word)).map((parts) => parts.join(':'))
  const plain = fc.stringMatching(/^[ab]{1,5}$/)
  let narrower = 0
  fc.assert(fc.property(scope, fc.array(scope, { maxLength: 3 }), fc.record({ type: plain, action: plain, id: plain }), (one, others, about) => {
    if (!isNarrower(one, others)) return true
    narrower++
    return !isInScope([one], about) || isInScope(others, about)
  }), { numRuns: 20_000 })
  t.ok(narrower > 500, `${narrower} pairs`)
})

t.test('the scope that would be enough can stand in a challenge', async (t) => {
  t.equal(scopeFor(predict('fraud')), 'model:predict:fraud')
  for (const id of ['a b', 'a"b', 'ä', 'a*', '*', 'x'.repeat(600)]) t.equal(scopeFor(predict(id)), 'model:predict', id)
})
