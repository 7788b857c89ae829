import type { Context, Principal, Resource } from 'fastify-model-guard'

/** A rule, before it is written in anybody's language. */
export interface BenchRule {
  readonly name: string
  readonly effect: 'allow' | 'deny'
  readonly team: string
  /** A pattern with one star at its end. */
  readonly model: string
  readonly actions: readonly string[]
}

/** What is asked, and what must come of it. */
export interface Question {
  readonly principal: Principal
  readonly action: string
  readonly resource: Resource
  readonly context: Context
  readonly allowed: boolean
}

const perQuestion = 50

/** So many rules, each about a team and its models; every tenth is a deny. */
export function rulesOf (count: number): readonly BenchRule[] {
  return Array.from({ length: count }, (_, index) => {
    const number = index - index % 10
    return index % 10 === 9
      ? { name: `rule ${index}`, effect: 'deny', team: `team-${number}`, model: `model-${number}-secret*`, actions: ['predict'] }
      : { name: `rule ${index}`, effect: 'allow', team: `team-${index}`, model: `model-${index}-*`, actions: ['read', 'predict'] }
  })
}

/** Questions spread over the rules: a model of the team, one of another team, and one that is denied, in turn. */
export function questionsAbout (count: number): readonly Question[] {
  return Array.from({ length: perQuestion }, (_, turn) => {
    const index = Math.floor(turn * count / perQuestion / 10) * 10
    const [suffix, team, allowed] = ([['eu', index, true], ['eu', index + 1, false], ['secret', index, false]] as const)[turn % 3] ?? ['eu', index, true]
    return {
      principal: { id: `ann-${turn}`, type: 'user', org: 'acme', team: `team-${team}`, tier: 'standard', roles: [], scopes: [], attributes: {}, credential: { method: 'api-key', id: 'k' } },
      action: 'predict',
      resource: { type: 'model', id: `model-${index}-${suffix}`, org: 'acme', attributes: {} },
      context: { environment: 'production' },
      allowed
    }
  })
}
