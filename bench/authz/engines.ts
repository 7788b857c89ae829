import { setFlagsFromString } from 'node:v8'
import { createMongoAbility, subject, type RawRuleOf, type MongoAbility } from '@casl/ability'
import { preparsePolicySet, statefulIsAuthorized, type EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import { newEnforcer, newModelFromString, StringAdapter } from 'casbin'
import { loadPolicy } from 'fastify-model-guard'
import type { BenchRule, Question } from './rules.ts'

// Inlined into JavaScript, Cedar's WebAssembly brings V8 of Node 20 down now and then.
setFlagsFromString('--no-turbo-inline-js-wasm-calls')

/** Answers a question. */
export type Engine = (question: Question) => boolean

/** Rules as a policy file of ours. @param indexable whether there is a constant to find them by. */
export function guardEngine (rules: readonly BenchRule[], indexable = true): Engine {
  const policies = rules.map(({ name, effect, team, model, actions }) => indexable
    ? { name, effect, principal: { team }, resource: { type: 'model', id: model }, action: actions }
    : { name, effect, principal: { team: { in: [team] } }, resource: { id: { prefix: model.slice(0, -1) } }, action: '*' })
  const policy = loadPolicy(JSON.stringify({ version: 1, policies }), { source: 'bench', maxBytes: 16 * 1024 * 1024 })
  return ({ principal, action, resource, context }) => policy.decide(principal, action, resource, context).allowed
}

const casbinModel = `
[request_definition]
r = team, model, act
[policy_definition]
p = team, model, act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.team == p.team && r.act == p.act && keyMatch(r.model, p.model)
`

export async function casbinEngine (rules: readonly BenchRule[]): Promise<Engine> {
  const lines = rules.flatMap(({ effect, team, model, actions }) => actions.map((action) => `p, ${team}, ${model}, ${action}, ${effect}`))
  const enforcer = await newEnforcer(newModelFromString(casbinModel), new StringAdapter(lines.join('\n')))
  return ({ principal, action, resource }) => enforcer.enforceSync(principal.team, resource.id, action)
}

export function cedarEngine (rules: readonly BenchRule[]): Engine {
  const policies = rules.map(({ effect, team, model, actions }) =>
    `${effect === 'allow' ? 'permit' : 'forbid'}(principal, action in [${actions.map((action) => `Action::"${action}"`).join(', ')}], resource) when { principal.team == "${team}" && resource.id like "${model}" };`)
  const id = `rules-${rules.length}`
  preparsePolicySet(id, { staticPolicies: policies.join('\n') })
  return ({ principal, action, resource }) => {
    const [user, model] = [{ type: 'User', id: principal.id }, { type: 'Model', id: resource.id }]
    const entities: EntityJson[] = [{ uid: user, attrs: { team: principal.team ?? '' }, parents: [] }, { uid: model, attrs: { id: resource.id }, parents: [] }]
    const answer = statefulIsAuthorized({ principal: user, action: { type: 'Action', id: action }, resource: model, context: {}, preparsedPolicySetId: id, entities })
    return answer.type === 'success' && answer.response.decision === 'allow'
  }
}

/** Its rules are one user's: the one rule that concerns the question, as few as it can have. */
export function caslEngine (): Engine {
  const rules: RawRuleOf<MongoAbility>[] = [{ action: ['read', 'predict'], subject: 'model', conditions: { team: 'team-0' } }]
  const ability = createMongoAbility(rules)
  return ({ principal, action, resource }) => ability.can(action, subject('model', { id: resource.id, team: principal.team }))
}
