import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'

/** The parts of the pipeline, in the order in which their hooks must run. */
export const stages = ['audit', 'models', 'authenticate', 'anomaly', 'rate-limit', 'authorize', 'concurrency'] as const

export type Stage = typeof stages[number]

/** The name under which a stage is registered with Fastify. */
export function pluginName (stage: Stage): string {
  return `fastify-model-guard/${stage}`
}

/**
 * Checks that no later stage was registered before this one: hooks run in the order of registration.
 * @throws FMG_ERR_ORDER naming both.
 */
export function checkOrder (app: FastifyInstance, stage: Stage): void {
  const tooEarly = stages.slice(stages.indexOf(stage) + 1).find((later) => app.hasPlugin(pluginName(later)))
  if (tooEarly !== undefined) {
    throw guardError('FMG_ERR_ORDER', { detail: `register ${stage} before ${tooEarly}` })
  }
}
