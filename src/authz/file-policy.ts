import { createHash } from 'node:crypto'
import type { Principal } from '../principal.ts'
import { type Assignments, assignRoles, readAssignments } from './assignments.ts'
import { type PolicySource, readDocument } from './document.ts'
import { compileObliging, withDue } from './due.ts'
import { explain, type Explanation, explainRoles, type RoleExplanation } from './explain.ts'
import { type PolicyNode, policyInvalid, quote, unexpected } from './node.ts'
import type { AskedPrincipal, Context, Decision, Resource } from './policy.ts'
import { type PolicyTest, readTests, type TestedPolicy, testPolicy, type TestResult } from './policy-tests.ts'
import { optional, readShape, required } from './readers.ts'
import { decideByRole, readRoles, type Role, type RolePermissions } from './roles.ts'
import { compileRules, decideByRules, policyError, readRules, type Rule } from './rule.ts'
import { candidates } from './rule-index.ts'
import { weigher, type Weighed } from './weigh.ts'

/** A policy read from a file. It decides at once, never throws, and never changes. */
export interface FilePolicy extends TestedPolicy {
  /** Names of the roles, in the order of the file. */
  readonly roles: readonly string[]
  /** Names of the rules, in the order of the file. */
  readonly rules: readonly string[]
  /** Those of them that allow. */
  readonly allowing: readonly string[]
  /** Tiers that its rules oblige to. */
  readonly tiers: readonly string[]
  /** How many tests the file holds. */
  readonly tests: number
  /** What every rule, and every role that permits it, makes of a question. */
  explain (principal: Principal, action: string, resource: Resource, context: Context): Explanation
  /** As `explain`, of roles alone. */
  explainRoles (principal: Principal, action: string, resource: Resource, context: Context): RoleExplanation
  /**
   * What comes of a question of which not everything is known.
   * @param asked to which the question's own getters add the name of whatever is not known, when they are asked for it.
   */
  weigh (principal: Principal, action: string, resource: Resource, context: Context, asked: Set<string>): Weighed
  /** What each role permits. */
  readonly permissions: ReadonlyMap<string, RolePermissions>
}

/**
 * Reads, checks, tests and compiles a policy file (YAML or JSON). A file that is wrong anywhere, or one of whose own `tests:` fails, is
 * refused whole. The `id` is the digest of the text in UTF-8: of the file's bytes, if they were decoded without replacing or dropping any.
 * @throws FMG_ERR_POLICY_INVALID with `source:line:column: what was expected`.
 */
export function loadPolicy (text: string, options: PolicySource): FilePolicy {
  return testedPolicy(readDocument(text, options), text, options)
}

/** As `loadPolicy`, of a document that was read already. */
export function testedPolicy (root: PolicyNode, text: string, options: PolicySource): FilePolicy {
  const policy = policyOf(root, text, options)
  const failed = testPolicy(policy).filter(({ passed }) => !passed)
  const [first] = failed
  if (first !== undefined) throw policyInvalid(first.place, describeFailure(first, failed.length - 1))
  return policy
}

/**
 * Reads, checks and compiles a policy file without running its tests: for the tool that shows how each comes out. A server uses `loadPolicy`.
 * @throws FMG_ERR_POLICY_INVALID with `source:line:column: what was expected`.
 */
export function parsePolicy (text: string, options: PolicySource): FilePolicy {
  return policyOf(readDocument(text, options), text, options)
}

function policyOf (root: PolicyNode, text: string, { tiers }: PolicySource): FilePolicy {
  const file = readFile(root, tiers)
  return Object.freeze({
    id: `sha256:${createHash('sha256').update(text).digest('hex')}`,
    roles: Object.freeze([...file.roles.keys()]),
    rules: Object.freeze(file.rules.map(({ name }) => name)),
    allowing: Object.freeze(file.rules.flatMap(({ name, effect }) => effect === 'allow' ? [name] : [])),
    tiers: Object.freeze([...new Set(file.rules.flatMap(({ obligations }) => obligations?.tier ?? []))]),
    tests: file.tests.length,
    testCases: Object.freeze(file.tests),
    decide: decider(file),
    explain: explain.bind(undefined, file),
    explainRoles: explainRoles.bind(undefined, file),
    weigh: weigher(file),
    permissions: file.roles
  })
}

interface PolicyFile {
  readonly roles: ReadonlyMap<string, Role>
  readonly assignments: Assignments
  readonly rules: readonly Rule[]
  readonly tests: readonly PolicyTest[]
}

function readFile (root: PolicyNode, tiers: readonly string[] | undefined): PolicyFile {
  const file = readShape(root, ['version', 'roles', 'assignments', 'policies', 'tests'])
  const version = required(file, 'version')
  if (version.kind !== 'scalar' || version.value !== 1) throw unexpected(version, 'version 1')
  const roles = optional(file, 'roles', readRoles, new Map<string, Role>())
  return {
    roles,
    assignments: readAssignments(file.members.get('assignments')?.value, new Set(roles.keys())),
    rules: optional(file, 'policies', (node) => readRules(node, tiers), []),
    tests: optional(file, 'tests', readTests, [])
  }
}

const noMatch: Decision = Object.freeze({ allowed: false, rule: null, reason: 'no-match' })
const unreadable = policyError(null)

function decider ({ roles, assignments, rules }: PolicyFile): FilePolicy['decide'] {
  const index = compileRules(rules)
  const obliging = compileObliging(rules)
  return function decide (principal: AskedPrincipal, action: string, resource: Resource, context: Context): Decision {
    try {
      const question = assignRoles(assignments, { principal, roles: principal.roles, action, resource, context })
      const concerned = candidates(index, question)
      const decision = decideByRules(concerned, 'deny', question) ?? decideByRole(roles, question) ?? decideByRules(concerned, 'allow', question) ?? noMatch
      return obliging === undefined ? decision : withDue(decision, obliging, question)
    } catch {
      // A question that cannot even be read, or a getter of its maker's that throws, is no reason to let it pass.
      return unreadable
    }
  }
}

function describeFailure ({ name, expected, decision }: TestResult, others: number): string {
  const outcome = decision.rule === null ? decision.reason : `${decision.reason}, ${quote(decision.rule)}`
  const more = others === 0 ? '' : `; ${others} more failed`
  const got = decision.allowed ? 'allow' : 'deny'
  if (got === expected) return `test ${quote(name)} expected other obligations than ${JSON.stringify(decision.obligations ?? {})} (${outcome})${more}`
  return `test ${quote(name)} expected ${expected}, got ${got} (${outcome})${more}`
}
