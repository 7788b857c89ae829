import type { Models } from '../../src/plugins/loaded-models.ts'

/** `app.models` of a server whose models are none of this package's. */
export function servedModels (parts: Pick<Models, 'find' | 'list'>): Models {
  return parts as Models
}
