// Asks this engine and Cedar the same: how many questions, and the seed they are drawn by. Prints the outcomes.
import fc from 'fast-check'
import type { Principal } from '../../src/principal.ts'
import { askCedar, inCedar, type CedarQuestion, type GivenPolicy } from './cedar.ts'
import { model, policyOf, principal, reference } from './questions.ts'

const count = Number(process.argv[2])
const seed = Number(process.argv[3])
const questionsEach = 100

const word = fc.constantFrom('a', 'b', 'ab', 'abc', 'a-c')
const pattern = fc.oneof(word, fc.constantFrom('a*', '*b', 'a*c', '*', '*-*'))
const level = fc.integer({ min: 0, max: 4 })
const address = fc.constantFrom('10.0.0.1', '10.1.2.3', '192.0.2.7', '2001:db8::1')
const moment = fc.constantFrom('2026-01-31T08:00:00Z', '2026-06-01T00:00:00Z', '2026-12-24T18:30:00Z')
const several = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(of, { minLength: 1, maxLength: 3 })

const ofText = (references: readonly string[]): fc.Arbitrary<unknown> => {
  const linked = references.length === 0 ? word : fc.oneof({ weight: 3, arbitrary: word }, fc.constantFrom(...references.map(reference)))
  const linkedPattern = references.length === 0 ? pattern : fc.oneof({ weight: 3, arbitrary: pattern }, fc.constantFrom(...references.map(reference)))
  return fc.oneof(
    { weight: 4, arbitrary: linkedPattern },
    several(linkedPattern),
    linked.map((eq) => ({ eq })),
    linked.map((ne) => ({ ne })),
    several(word).map((list) => ({ in: list })),
    several(word).map((list) => ({ nin: list })),
    word.map((prefix) => ({ prefix })),
    fc.tuple(word, word).map(([suffix, ne]) => ({ suffix, ne })),
    fc.boolean().map((exists) => ({ exists }))
  )
}
const ofNumber = fc.oneof(
  level,
  ...(['eq', 'ne', 'lt', 'lte', 'gt', 'gte'] as const).map((name) => level.map((operand) => ({ [name]: operand }))),
  fc.tuple(level, level).map(([gte, lt]) => ({ gte, lt })),
  fc.tuple(level, level).map((bounds) => ({ between: bounds.toSorted((a, b) => a - b) })),
  several(level).map((list) => ({ nin: list }))
)
const ofRoles = fc.oneof(word, several(word), word.map((ne) => ({ ne })))
const ofAddress = several(fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '192.0.2.7', '2001:db8::/32')).map((cidr) => ({ cidr }))
const ofTime = fc.oneof(moment.map((before) => ({ before })), moment.map((after) => ({ after })), fc.tuple(moment, moment).map((bounds) => ({ between: bounds.toSorted() })))

const part = (shape: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Record<string, unknown> | undefined> =>
  fc.option(fc.record(shape, { requiredKeys: [] }).filter((made) => Object.keys(made).length > 0).map((made) => ({ ...made })), { nil: undefined })
const resourceNames = ['resource.org', 'resource.owner', 'resource.type']
const ofResource = part({ type: ofText([]), id: ofText(['principal.id']), org: ofText(['principal.org']), owner: ofText(['principal.id', 'principal.team']), size: ofNumber })
const rule = fc.record({
  effect: fc.constantFrom<'allow' | 'deny'>('allow', 'allow', 'deny'),
  action: ofText([]).filter((said) => !JSON.stringify(said).includes('exists')),
  principal: part({ id: ofText(['resource.owner']), org: ofText(resourceNames), team: ofText(resourceNames), roles: ofRoles, level: ofNumber }),
  resource: ofResource,
  condition: part({ environment: ofText(['principal.org']), hour: ofNumber, address: ofAddress, moment: ofTime })
})
const permission = fc.oneof(fc.tuple(pattern, pattern).map((parts) => parts.join(':')), fc.constant('*'))
const role = (parents: readonly string[]): fc.Arbitrary<GivenPolicy['roles'][string]> => fc.record({
  permissions: several(permission),
  inherits: parents.length === 0 ? fc.constant([]) : fc.subarray([...parents]),
  org: fc.option(fc.constant<'*'>('*'), { nil: undefined })
}).map(({ permissions, inherits, org }) => ({ permissions, ...inherits.length > 0 && { inherits }, ...org !== undefined && { org } }))
const assignment = fc.record({
  principal: fc.record({ id: ofText([]), team: ofText([]) }, { requiredKeys: ['id'] }).map((made) => ({ ...made })),
  resource: ofResource,
  roles: fc.subarray(['a', 'b', 'ab'], { minLength: 1 })
})
const policy: fc.Arbitrary<GivenPolicy> = fc.record({
  roles: fc.record({ a: role([]), b: role(['a']), ab: role(['a', 'b']) }),
  assignments: fc.array(assignment, { maxLength: 2 }),
  policies: fc.array(rule, { maxLength: 8 })
})

const sometimes = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined, freq: 4 })
const question = fc.record({
  principal: fc.record({ id: word, org: sometimes(word), team: sometimes(word), roles: fc.uniqueArray(word, { maxLength: 2 }), level: sometimes(level) }),
  action: word,
  resource: fc.record({ type: word, id: word, org: sometimes(word), owner: sometimes(word), size: sometimes(level) }),
  context: fc.record({ environment: sometimes(word), hour: sometimes(level), address: sometimes(address), moment: sometimes(moment) })
})
type Question = typeof question extends fc.Arbitrary<infer T> ? T : never

function decide (given: ReturnType<typeof policyOf>, { principal: { level, ...who }, action, resource: { owner, size, ...what }, context }: Question): boolean {
  return given.decide(principal({ ...who, attributes: { level } } satisfies Partial<Principal>), action, model({ ...what, attributes: { owner, size } }), context).allowed
}

function forCedar ({ principal, action, resource, context }: Question): CedarQuestion {
  return { principal: there(principal), resource: there(resource), context: there({ ...context, action }) }
}

function there<T> (members: Readonly<Record<string, T | undefined>>): Record<string, T> {
  return Object.fromEntries(Object.entries(members).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]))
}

const outcomes = { allowed: 0, denied: 0 }
const differences: unknown[] = []
for (const [index, given] of fc.sample(policy, { seed, numRuns: count / questionsEach }).entries()) {
  const ours = policyOf({ ...given, policies: given.policies.map((made, number) => ({ name: `r${number}`, ...there({ ...made }) })) })
  const text = inCedar(given)
  const cedar = askCedar(text)
  for (const asked of fc.sample(question, { seed: seed + index, numRuns: questionsEach })) {
    const allowed = decide(ours, asked)
    outcomes[allowed ? 'allowed' : 'denied']++
    if (cedar(forCedar(asked)) !== allowed) differences.push({ allowed, given, asked, text })
  }
}
console.log(JSON.stringify({ ...outcomes, differences: differences.slice(0, 3) }))
