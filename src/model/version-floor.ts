import { guardError } from '../errors.ts'
import { compareVersions, type ModelVersion } from './version-order.ts'

/** A model that is to be loaded, as far as its version goes. */
export interface VersionedModel extends ModelVersion {
  readonly name: string
}

export interface VersionFloorOptions {
  /** By model, the lowest version that may be loaded, whatever was loaded before. Default none. */
  readonly minimum?: Readonly<Record<string, string>> | undefined
  /** By model, the versions that may be loaded although a newer one was: a deliberate rollback. They are not below `minimum`. Default none. */
  readonly allowRollback?: ((name: string) => readonly (string | undefined)[]) | undefined
}

/** The highest version of each model that was loaded. */
export interface VersionFloor {
  /**
   * Demands that a version is not below the highest before, nor below the minimum.
   * @returns the version it goes back from, for a rollback that is allowed.
   * @throws FMG_ERR_MODEL_ROLLBACK, with reason `version-below-floor`, `version-below-minimum` or, where nothing tells which of the two is older,
   * `version-unordered`.
   */
  check (model: VersionedModel): ModelVersion | undefined
  /** Takes in a version that was loaded, now or before. The floor does not sink. */
  raise (model: VersionedModel): void
}

/** A floor under nothing yet. */
export function versionFloor ({ minimum = {}, allowRollback = () => [] }: VersionFloorOptions): VersionFloor {
  const highest = new Map<string, ModelVersion>()

  return {
    check ({ name, ...model }) {
      const least = Object.hasOwn(minimum, name) ? minimum[name] : undefined
      if (least !== undefined) requireNotBelow(name, model, { version: least }, 'version-below-minimum')
      const floor = highest.get(name)
      if (floor === undefined) return undefined
      if (allowRollback(name).includes(model.version)) return isBelow(model, floor) ? floor : undefined
      requireNotBelow(name, model, floor, 'version-below-floor')
      return undefined
    },
    raise ({ name, version, trained_at: trainedAt }) {
      const floor = highest.get(name)
      const model = { version, trained_at: trainedAt }
      // One that was let in though nothing tells its place is where the next ones are counted from.
      if (floor === undefined || (compareVersions(model, floor) ?? 0) >= 0) highest.set(name, model)
    }
  }
}

function isBelow (model: ModelVersion, floor: ModelVersion): boolean {
  return (compareVersions(model, floor) ?? -1) < 0
}

function requireNotBelow (name: string, model: ModelVersion, floor: ModelVersion, reason: string): void {
  const order = compareVersions(model, floor)
  const place = `${name} ${model.version}`
  // What cannot be told might be a rollback.
  if (order === undefined) throw guardError('FMG_ERR_MODEL_ROLLBACK', { detail: `nothing tells whether ${place} is older than ${floor.version}: versions are numbers with dots, or have trained_at`, reason: 'version-unordered' })
  if (order < 0) throw guardError('FMG_ERR_MODEL_ROLLBACK', { detail: `${place} is below ${floor.version}`, reason })
}
