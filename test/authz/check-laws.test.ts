import fc from 'fast-check'
import t from 'tap'
import { checkPolicy } from '../../src/authz/check-policy.ts'
import type { Finding } from '../../src/authz/finding.ts'
import { type FilePolicy, parsePolicy } from '../../src/authz/file-policy.ts'
import type { CredentialMethod } from '../../src/principal.ts'
import { ask, type Asked, model, policyOf, principal, reference } from './questions.ts'

// Every policy is asked hundreds of questions: a slow or busy machine needs its time.
t.setTimeout(300_000)

const policies = Number(process.env['POLICIES'] ?? 1000)
const questionsEach = 120

const word = fc.constantFrom('a', 'b', 'ab', 'ba')
const pattern = fc.constantFrom('a*', '*b', 'a*b', '*', 'ab*', '*a*')
const level = fc.integer({ min: 0, max: 3 })
const several = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(of, { minLength: 1, maxLength: 3 })
/** An operator object of one or two of these. */
const operators = (choices: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<unknown> =>
  fc.uniqueArray(fc.constantFrom(...Object.keys(choices)), { minLength: 1, maxLength: 2 }).chain((names) => fc.record(Object.fromEntries(names.map((name) => [name, choices[name] ?? word])))).map((made) => ({ ...made }))

const team = reference('principal.team')
const ofText = fc.oneof(
  { weight: 3, arbitrary: word },
  pattern,
  several(fc.oneof(word, pattern, operators({ prefix: word, ne: word }))),
  fc.constantFrom<unknown>(team, `${team}*`, { eq: team }, { ne: team }, { nin: ['a', team] }, { in: team }, { nin: reference('principal.level') }, { exists: reference('principal.level') }),
  operators({ eq: word, ne: word, in: several(word), nin: several(word), prefix: word, suffix: word, exists: fc.boolean() })
)
const clock = fc.constantFrom('01:00', '08:00', '18:00', '23:00')
const moment = fc.constantFrom('2026-01-31T08:00:00Z', '2026-06-01T00:00:00Z')
const network = fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.1.2.3', '2001:db8::/32', '2001:db8::1')
const ofAnything = fc.oneof(
  ofText,
  level, fc.boolean(), several(fc.oneof(level, word)),
  operators({ lt: level, lte: level, gt: level, gte: level, ne: level, nin: several(level), eq: level, in: several(level), exists: fc.boolean(), between: fc.tuple(level, level).map((bounds) => bounds.toSorted()) }),
  operators({ prefix: word, gt: level, nin: several(fc.oneof(word, level)) }),
  operators({ after: clock, before: clock, between: fc.tuple(clock, clock) }),
  operators({ after: moment, before: moment, eq: moment }),
  operators({ cidr: fc.oneof(network, several(network)), in: several(fc.constantFrom('10.1.2.3', '10.9.9.9', '192.0.2.1')) })
)
const part = (shape: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<unknown> =>
  fc.option(fc.uniqueArray(fc.constantFrom(...Object.keys(shape)), { minLength: 1, maxLength: 2 }).chain((names) => fc.record(Object.fromEntries(names.map((name) => [name, shape[name] ?? word])))).map((made) => ({ ...made })), { nil: undefined, freq: 2 })
const rule = fc.record({
  effect: fc.constantFrom('allow', 'allow', 'deny', 'deny', 'oblige'),
  isObliging: fc.integer({ min: 0, max: 7 }).map((drawn) => drawn === 0),
  action: fc.oneof(word, several(word), pattern, ofText),
  principal: part({ roles: ofText, team: ofText, level: ofAnything, attributes: fc.record({ level: ofAnything }), type: fc.constantFrom<unknown>('user', 'bot', { ne: 'user' }, { nin: ['user', 'service'] }), credential: fc.record({ method: fc.constantFrom<unknown>('mtls', ['jwt', 'session'], { prefix: 'x' }), issuer: ofText }, { requiredKeys: ['method'] }) }),
  resource: part({ id: ofText, org: ofText, level: ofAnything, attributes: fc.record({ level: ofAnything, x: ofAnything }, { requiredKeys: ['level'] }) }),
  condition: part({ x: ofAnything, y: ofAnything })
}).map(({ isObliging, ...made }) => ({ ...made, ...(isObliging || made.effect === 'oblige') && { obligations: { record: 'full-metadata' } } }))
type GivenRule = typeof rule extends fc.Arbitrary<infer T> ? T : never

const roles = { a: { permissions: ['model:a'] }, b: { inherits: ['a'], permissions: ['model:b'] }, ab: { permissions: ['model:ab'] } }
const assignment = fc.record({ principal: fc.record({ team: ofText, roles: ofText }, { requiredKeys: ['team'] }).map((made) => ({ ...made })), roles: fc.constantFrom(['a'], ['b']) })

const anything = fc.oneof(
  word, level, fc.constantFrom<unknown>(null, true, undefined, { a: 'a' }, '10.1.2.3', '10.9.9.9', '2001:db8::1', '12:00', '23:30', '2026-03-01T09:00:00Z', Date.UTC(2026, 2, 1, 3), new Date(0), ''),
  fc.array(fc.oneof(word, level, fc.constantFrom<unknown>('10.1.2.3', null, ['a'])), { maxLength: 3 })
)
const sometimes = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined, freq: 3 })
const attributes = fc.record({ level: anything, x: anything }).map((made) => ({ ...made }))
const question: fc.Arbitrary<Asked> = fc.record({
  principal: fc.record({
    type: fc.constantFrom<'user' | 'service'>('user', 'service'),
    org: sometimes(word),
    team: sometimes(word),
    roles: fc.array(word, { maxLength: 2 }),
    attributes,
    credential: fc.record({ method: fc.constantFrom<CredentialMethod>('api-key', 'jwt', 'mtls', 'session'), id: word, issuer: sometimes(word) })
  }),
  action: word,
  resource: fc.record({ id: word, org: sometimes(word), attributes }),
  context: fc.record({ x: anything, y: anything })
})

type Named = GivenRule & { readonly name: string }
const parts = (rules: readonly Named[], assignments: readonly unknown[] = []): Record<string, unknown> => ({ version: 1, roles, assignments, policies: rules })
const without = (rules: readonly Named[], names: ReadonlySet<string | undefined>): FilePolicy => policyOf(parts(rules.filter(({ name }) => !names.has(name))))
const removable = ({ kind, message }: Finding): boolean => ['redundant', 'overridden', 'never-matches'].includes(kind) && !message.includes('denies only what cannot be evaluated')

t.test('what is found to say nothing can be removed, alone and all at once, and no decision changes', async (t) => {
  const seen = new Map<string, number>()
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  t.comment(`seed ${seed}`)
  for (const [index, given] of fc.sample(fc.array(rule, { minLength: 2, maxLength: 9 }), { seed, numRuns: policies }).entries()) {
    const rules = given.map((made, number) => ({ ...made, name: `r${number}` }))
    const { policy, findings, isComplete } = checkPolicy(JSON.stringify(parts(rules)), { source: 'p' })
    t.ok(isComplete)
    if (findings.length === 0) continue
    for (const { kind } of findings) seen.set(kind, (seen.get(kind) ?? 0) + 1)
    const gone = findings.filter(removable).map(({ rule }) => rule)
    const never = new Set(findings.filter(({ kind }) => kind === 'never-matches').map(({ rule }) => rule))
    const fewer = [without(rules, new Set(gone)), ...gone.map((name) => without(rules, new Set([name])))]
    for (const asked of fc.sample(question, { seed: seed + index, numRuns: questionsEach })) {
      const { allowed, obligations } = ask(policy, asked)
      if (fewer.some((one) => ask(one, asked).allowed !== allowed || ask(one, asked).obligations?.record !== obligations?.record)) t.fail(`removing changes a decision: ${JSON.stringify({ rules, findings, asked })}`)
      const matching = policy.explain(principal(asked.principal), asked.action ?? '', model(asked.resource), asked.context ?? {}).rules.filter(({ rule, outcome }) => outcome === 'matches' && never.has(rule))
      if (matching.length > 0) t.fail(`a rule that never matches does: ${JSON.stringify({ rules, matching, asked })}`)
    }
  }
  t.comment(JSON.stringify(Object.fromEntries(seen)))
  for (const kind of ['redundant', 'overridden', 'never-matches']) t.ok(Number(seen.get(kind)) > policies / 25, `${kind} was seen often enough to count`)
})

t.test('whom nothing brings a role that is found to be for nobody, and whom an assignment that is found never to apply could serve, is decided alike', async (t) => {
  const seen = new Map<string, number>()
  const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
  t.comment(`seed ${seed}`)
  const file = fc.record({ rules: fc.array(rule, { minLength: 1, maxLength: 4 }), assignments: fc.array(assignment, { maxLength: 2 }), held: fc.subarray(['a', 'ab', 'ba']) })
  for (const [index, { rules: given, assignments, held }] of fc.sample(file, { seed, numRuns: policies }).entries()) {
    const rules = given.map((made, number) => ({ ...made, name: `r${number}` }))
    const text = JSON.stringify(parts(rules, assignments), null, 1)
    const { policy, findings } = checkPolicy(text, { source: 'p', heldRoles: held })
    const about = findings.filter(({ kind }) => kind === 'role-nobody-has' || kind === 'assignment-never-applies')
    if (about.length === 0) continue
    for (const { kind } of about) seen.set(kind, (seen.get(kind) ?? 0) + 1)
    const forNobody = new Set(about.flatMap(({ kind, rule }) => kind === 'role-nobody-has' && rule !== undefined ? [rule] : []))
    const dead = new Set(about.filter(({ kind }) => kind === 'assignment-never-applies').map(({ place }) => place.line))
    const starts = text.split('\n').flatMap((line, number) => line === '  {' ? [number + 1] : [])
    const alive = assignments.filter((_, number) => !dead.has(Number(starts[number])))
    t.equal(alive.length, assignments.length - dead.size)
    const fewer = parsePolicy(JSON.stringify(parts(rules.filter(({ name }) => !forNobody.has(name)), alive)), { source: 'p' })
    const unheld = about.flatMap(({ rule, message }) => rule === undefined ? /role "(\w+)"/.exec(message)?.slice(1).map((name) => `role:${name}`) ?? [] : [])
    for (const asked of fc.sample(question, { seed: seed + index, numRuns: questionsEach })) {
      const bringing = { ...asked, principal: { ...asked.principal, roles: (asked.principal?.roles ?? []).filter((role) => held.includes(role)) } }
      const decision = ask(policy, bringing)
      if (ask(fewer, bringing).allowed !== decision.allowed || unheld.includes(String(decision.rule))) t.fail(`it makes a difference: ${JSON.stringify({ rules, assignments, held, about, asked })}`)
    }
  }
  t.comment(JSON.stringify(Object.fromEntries(seen)))
  for (const kind of ['role-nobody-has', 'assignment-never-applies']) t.ok(Number(seen.get(kind)) > policies / 10, `${kind} was seen often enough to count`)
})
