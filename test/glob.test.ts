import t from 'tap'
import { compileGlob, matchesSegments } from '../src/glob.ts'
import { isInScope, isNarrower } from '../src/scope.ts'
import { ask, policyOf } from './authz/questions.ts'

/** Looks for one text in another that `work` takes: how many, and how often one began before the one that it followed ended. */
function searches (work: () => unknown): { count: number, backwards: number } {
  const { indexOf } = String.prototype
  const seen = { count: 0, backwards: 0 }
  let last = -1
  Object.defineProperty(String.prototype, 'indexOf', { configurable: true, writable: true, value: function (this: string, text: string, from = 0) {
    seen.count++
    if (from < last) seen.backwards++
    last = from
    return indexOf.call(this, text, from)
  } })
  try {
    work()
  } finally {
    Object.defineProperty(String.prototype, 'indexOf', { configurable: true, writable: true, value: indexOf })
  }
  return seen
}

const hostile: readonly (readonly [pattern: string, text: string])[] = [
  [`${'*a'.repeat(200)}*b`, 'a'.repeat(100_000)],
  [`${'a*'.repeat(200)}b`, 'a'.repeat(100_000)],
  [`*${'ab*'.repeat(150)}c`, 'ab'.repeat(50_000)],
  [`${'*'.repeat(500)}b`, 'a'.repeat(100_000)],
  [`*${'a'.repeat(250)}*${'a'.repeat(250)}b*c`, `${'a'.repeat(100_000)}c`]
]

t.test('a pattern is searched for once from left to right, each part at most once, however hostile it is', async (t) => {
  for (const [index, [pattern, text]] of hostile.entries()) {
    const segments = pattern.split('*')
    const { count, backwards } = searches(() => { t.equal(matchesSegments(segments, text), false, pattern.slice(0, 20)) })
    t.ok(count <= segments.length, `${count} searches for ${segments.length} parts`)
    t.equal(backwards, 0)
    if (index < 4) t.equal(matchesSegments([...segments.slice(0, -1), ''], text), true, 'it would match but for its end')
  }
})

t.test('rules, permissions and scopes search no more than that', async (t) => {
  for (const [pattern, text] of hostile) {
    const policy = policyOf({ roles: { viewer: { permissions: [`model:${pattern}`], org: '*' } }, policies: [{ name: 'r', effect: 'allow', action: 'look', resource: { id: pattern } }, { name: 's', effect: 'allow', action: pattern }] })
    const steps = (work: () => unknown): number => searches(work).count
    const most = pattern.split('*').length * 3
    t.ok(steps(() => { t.notOk(ask(policy, { action: 'look', resource: { id: text } }).allowed) }) <= most, 'a rule')
    t.ok(steps(() => { t.notOk(ask(policy, { principal: { roles: ['viewer'] }, action: text }).allowed) }) <= most, 'a permission')
    t.ok(steps(() => { t.notOk(isInScope([`model:predict:${pattern.slice(0, 490)}b`], { type: 'model', action: 'predict', id: text })) }) <= most, 'a scope')
    t.ok(steps(() => { isNarrower(`model:predict:${pattern.slice(0, 490)}`, [`model:predict:${pattern.slice(-490)}`]) }) <= most, 'a scope within another')
  }
})

t.test('what has one star needs no search at all', async (t) => {
  for (const pattern of ['a*', '*a', 'a*b']) t.equal(searches(() => compileGlob(pattern.split('*'))('a'.repeat(1000))).count, 0, pattern)
})
