import t, { type Test } from 'tap'
import { compileGlob, matchesSegments } from '../src/glob.ts'
import { isInScope, isNarrower } from '../src/scope.ts'
import { ask, policyOf } from './authz/questions.ts'

/** How often one text is looked for in another while this is done, and how often from further left than the time before. */
function searches (t: Test, work: () => unknown): { count: number, backwards: number } {
  const calls = t.capture(String.prototype, 'indexOf', function (this: unknown, text: string, from?: number): number {
    const all = String(this)
    const start = from ?? 0
    const [before = ''] = text === '' ? [''] : all.slice(start).split(text, 1)
    return start + before.length === all.length && text !== '' ? -1 : start + before.length
  })
  work()
  const starts = calls().map(({ args: [, from = 0] }) => from)
  calls.restore()
  return { count: starts.length, backwards: starts.filter((from, index) => index > 0 && from < Number(starts.at(index - 1))).length }
}

// Each begins and ends as its pattern does, and lacks but the c.
const hostile: readonly (readonly [pattern: string, text: string])[] = [
  [`${'*a'.repeat(200)}*c*b`, `${'a'.repeat(100_000)}b`],
  [`${'a*'.repeat(200)}c*b`, `${'a'.repeat(100_000)}b`],
  [`*${'ab*'.repeat(150)}c*b`, 'ab'.repeat(50_000)],
  [`${'*'.repeat(500)}c*b`, `${'a'.repeat(100_000)}b`],
  [`*${'a'.repeat(250)}*${'a'.repeat(250)}c*b`, `${'a'.repeat(100_000)}b`]
]

t.test('a pattern is searched for once from left to right, each part at most once, however hostile it is', async (t) => {
  for (const [pattern, text] of hostile) {
    const segments = pattern.split('*')
    const { count, backwards } = searches(t, () => matchesSegments(segments, text))
    t.equal(matchesSegments(segments, text), false, pattern.slice(0, 20))
    t.ok(count <= segments.length, `${count} searches for ${segments.length} parts`)
    t.equal(backwards, 0)
    t.ok(count > 1, 'it is searched for')
    t.equal(matchesSegments(pattern.replace('c*', '*').split('*'), text), true, 'without the c it would match')
  }
})

t.test('rules, permissions and scopes search no more than that', async (t) => {
  for (const [pattern, text] of hostile) {
    const policy = policyOf({ roles: { viewer: { permissions: [`model:${pattern}`], org: '*' } }, policies: [{ name: 'r', effect: 'allow', action: 'look', resource: { id: pattern } }, { name: 's', effect: 'allow', action: pattern }] })
    const steps = (work: () => unknown): number => searches(t, work).count
    const most = pattern.split('*').length * 3
    t.ok(steps(() => ask(policy, { action: 'look', resource: { id: text } })) <= most, 'a rule')
    t.ok(steps(() => ask(policy, { principal: { roles: ['viewer'] }, action: text })) <= most, 'a permission')
    t.ok(steps(() => isInScope([`model:predict:${pattern.slice(0, 490)}b`], { type: 'model', action: 'predict', id: text })) <= most, 'a scope')
    t.ok(steps(() => isNarrower(`model:predict:${pattern.slice(0, 490)}`, [`model:predict:${pattern.slice(-490)}`])) <= most, 'a scope within another')
  }
})

t.test('what has one star needs no search at all', async (t) => {
  for (const pattern of ['a*', '*a', 'a*b']) t.equal(searches(t, () => compileGlob(pattern.split('*'))('a'.repeat(1000))).count, 0, pattern)
})
