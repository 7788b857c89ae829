import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import { compileGlob, isGlob } from '../glob.ts'
import { nearestWord } from '../options.ts'

/**
 * A limit under a name that no model has would silently never apply. Servers that load their models elsewhere are not asked.
 * @throws FMG_ERR_OPTION_INVALID naming it.
 */
export function refuseUnknownModels (app: FastifyInstance, names: readonly string[]): void {
  if (!app.hasDecorator('models')) return
  const loaded = app.models.list().map(({ id }) => id)
  for (const name of names) {
    if (isGlob(name) ? loaded.some(compileGlob(name.split('*'))) : loaded.includes(name)) continue
    const nearest = nearestWord(name, loaded)
    throw guardError('FMG_ERR_OPTION_INVALID', { detail: `rateLimit.tiers has limits for the model ${name}, which is not loaded${nearest === undefined ? '' : `; did you mean ${nearest}?`}` })
  }
}
