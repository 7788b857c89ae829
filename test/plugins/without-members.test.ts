import t from 'tap'
import { reachesText, withoutMembers } from '../../src/plugins/without-members.ts'

const answer = { label: 'cat', scores: [1, 2], user: { id: 'ann', mail: 'x' }, rows: [[{ mail: 'x', id: 1 }], 7, null] }

t.test('what a path leads to is not there any more, and all else is', async (t) => {
  t.same(withoutMembers(answer, ['scores', 'user.mail', 'rows.mail']), { label: 'cat', user: { id: 'ann' }, rows: [[{ id: 1 }], 7, null] })
  t.same(withoutMembers([answer], ['scores', 'user', 'rows']), [{ label: 'cat' }])
  t.same(withoutMembers({ 'user.mail': 'x', 'a.b': { c: 1, d: 2 }, user: 3 }, ['user.mail', 'a.b.c']), { 'a.b': { d: 2 }, user: 3 }, 'a name with a dot is no way around')
  t.equal(withoutMembers('text', ['length']), 'text')
  t.equal(withoutMembers(null, ['a']), null)
})

t.test('no toJSON gives back what was taken away', async (t) => {
  const own: Record<string, unknown> = { scores: 1, label: 'cat', toJSON: () => own }
  t.equal(JSON.stringify(withoutMembers(own, ['scores'])), '{"label":"cat"}')
  t.equal(JSON.stringify(withoutMembers({ deep: own }, ['deep.scores'])), '{"deep":{"label":"cat"}}')
  class Result { scores = 1; label = 'cat'; toJSON (): unknown { return this } }
  t.equal(JSON.stringify(withoutMembers(new Result(), ['scores'])), '{"label":"cat"}')
  t.equal(JSON.stringify(withoutMembers({ get scores () { return 1 }, get label () { return 'cat' } }, ['scores'])), '{"label":"cat"}')
  for (const odd of [new Map([['scores', 1]]), new Set([{ scores: 1 }]), Object.create({ scores: 1 })]) t.equal(JSON.stringify(withoutMembers(odd, ['scores'])), '{}')
})

t.test('a text is looked into where it is JSON', async (t) => {
  const text = JSON.stringify(answer)
  for (const path of ['label', 'scores', 'user.mail', 'rows.mail', 'user']) t.equal(reachesText(text, [path]), true, path)
  for (const path of ['mail', 'user.name', 'label.length', 'rows.0', 'scores.0']) t.equal(reachesText(text, [path]), false, path)
  t.equal(reachesText('{"user.mail":1}', ['user.mail']), true)
  t.equal(reachesText('null', ['a']), false)
  t.equal(reachesText('{"a":null,"b":1}', ['a.b', 'b']), true)
  t.equal(reachesText(`{ no JSON ${text}`, ['label']), false)
})
