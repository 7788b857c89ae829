import type { Principal } from '../../src/principal.ts'
import { type FilePolicy, loadPolicy } from '../../src/authz/file-policy.ts'
import type { Context, Decision, Resource } from '../../src/authz/policy.ts'

/** A principal of org acme without roles, but for what is said. */
export function principal (said: Partial<Principal> = {}): Principal {
  return { id: 'ann', type: 'user', org: 'acme', tier: 'gold', roles: [], scopes: [], attributes: {}, credential: { method: 'api-key', id: 'k1' }, ...said }
}

/** The model `fraud` of org acme, but for what is said. */
export function model (said: Partial<Resource> = {}): Resource {
  return { type: 'model', id: 'fraud', org: 'acme', attributes: {}, ...said }
}

/** A reference as the file writes it. */
export function reference (name: string): string {
  return `\${${name}}`
}

/** Loads a policy written as a value; JSON is YAML. */
export function policyOf (parts: Record<string, unknown>): FilePolicy {
  return loadPolicy(JSON.stringify({ version: 1, ...parts }), { source: 'policy.json' })
}

/** A policy of these rules; the names are given where they are left out. */
export function rulesOf (...rules: readonly Record<string, unknown>[]): FilePolicy {
  return policyOf({ policies: rules.map((rule, index) => ({ name: `r${index}`, effect: 'allow', action: 'read', ...rule })) })
}

export interface Asked {
  readonly principal?: Partial<Principal>
  readonly action?: string
  readonly resource?: Partial<Resource>
  readonly context?: Context
}

/** Asks whether ann may read the model fraud, but for what is said. */
export function ask (policy: FilePolicy, asked: Asked = {}): Decision {
  return policy.decide(principal(asked.principal), asked.action ?? 'read', model(asked.resource), asked.context ?? {})
}

/** What one allow rule, and what one deny rule beside an allow rule for all, makes of a question. */
export function bothEffects (rule: Record<string, unknown>, asked: Asked): string {
  const outcome = `${ask(rulesOf(rule), asked).reason}, ${ask(rulesOf({ ...rule, effect: 'deny' }, { name: 'all' }), asked).reason}`
  return String(outcomes.get(outcome))
}

const outcomes = new Map([['allowed, forbidden', 'matches'], ['no-match, allowed', 'misses'], ['no-match, policy-error', 'cannot be evaluated']])

/** Asks with values of any kind, as a program without types could. */
export function askAnything (policy: FilePolicy, ...question: readonly unknown[]): unknown {
  return Reflect.apply(policy.decide.bind(policy), undefined, question)
}

/** Milliseconds of processor time that this process has used: unlike the clock, it does not run while others work. */
export function cpuMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
