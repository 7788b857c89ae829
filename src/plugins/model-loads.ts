import type { AuditLog } from '../audit/log.ts'
import { selectRecords } from '../audit/query.ts'
import type { LoggedRecord } from '../audit/read-records.ts'
import type { Manifest } from '../model/manifest.ts'
import type { ModelSigner } from '../model/trust.ts'
import { versionFloor, type VersionedModel, type VersionFloorOptions } from '../model/version-floor.ts'
import { appendChange } from './audit-change.ts'

export interface ModelLoadsOptions extends Pick<VersionFloorOptions, 'minimum'> {
  /** By model, the version that may be loaded although a newer one was: a deliberate rollback, which is recorded. Default none. */
  readonly allowRollback?: Readonly<Record<string, string>>
  /** Where loads are recorded, and where the floor is found again. */
  readonly log: AuditLog
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: () => number
}

/** A version that serves, as far as its record goes. */
export interface ServingVersion {
  readonly id: string
  readonly version: string
  readonly digest: string
}

/** Keeps models from going back to an older version, and leaves records of those that are loaded. */
export interface ModelLoads {
  /**
   * Looks at the manifest of a version that is to serve, or to be loaded aside, before it is decrypted.
   * @throws FMG_ERR_MODEL_ROLLBACK when it is below the configured minimum, or, if it is to serve, below the highest version that served before.
   */
  readonly admit: (manifest: Manifest, signer: ModelSigner, place?: 'serving' | 'aside') => void
  /**
   * Looks at a loaded version that is to serve.
   * @throws FMG_ERR_MODEL_ROLLBACK
   */
  readonly check: (version: VersionedModel) => void
  /** Takes in a version that serves from now on by command, of which there is a record. */
  readonly note: (version: VersionedModel, isRollback: boolean) => void
  /**
   * Leaves a record of a version that serves from now on; the floor rises with it. One that could not be loaded raises nothing: else a damaged
   * bundle of a newer version would keep the older from being loaded again.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE
   */
  readonly record: (version: ServingVersion) => Promise<void>
}

const actions = ['model:load', 'model:promote', 'model:rollback']

/**
 * Opens the floor of model versions: what the log says was loaded before, whoever has taken what away from the disk since.
 * @throws FMG_ERR_FILE, FMG_ERR_LOG_INCONSISTENT when the log cannot be read.
 */
export async function openModelLoads ({ log, clock = Date.now, minimum, allowRollback = {} }: ModelLoadsOptions): Promise<ModelLoads> {
  // What was gone back to stays allowed until another version is loaded: a restart is no change of mind.
  const reverted = new Map<string, string>()
  const allowed = new Map(Object.entries(allowRollback))
  const floor = versionFloor({ minimum, allowRollback: (name) => [reverted.get(name), allowed.get(name)] })
  const admitted = new Map<string, { readonly manifest: Manifest, readonly signer: ModelSigner, readonly from: string | undefined }>()

  function learn (name: string, version: string, trainedAt: string | undefined, isRollback: boolean): void {
    floor.raise({ name, version, trained_at: trainedAt })
    if (isRollback) reverted.set(name, version)
    else if (reverted.get(name) !== version) reverted.delete(name)
  }

  for await (const records of selectRecords({ directory: log.directory, where: { action: actions, status: ['success'] } })) {
    for (const { action, model_id: name, model_version: version, detail } of records) {
      // What an operator has loaded serves nobody until it is promoted.
      const isAside = action === 'model:load' && detail?.requested_by !== undefined
      if (name !== undefined && version !== undefined && !isAside) learn(name, version, trainedAtOf(detail), action === 'model:rollback')
    }
  }

  const least = versionFloor({ minimum })
  return {
    check (version) { floor.check(version) },
    note ({ name, version, trained_at: trainedAt }, isRollback) { learn(name, version, trainedAt, isRollback) },
    admit (manifest, signer, place = 'serving') {
      if (place === 'aside') {
        least.check(manifest)
        return
      }
      const from = floor.check(manifest)?.version
      admitted.set(keyOf(manifest.name, manifest.version), { manifest, signer, from })
    },
    async record ({ id, version, digest }) {
      const { manifest, signer, from } = admitted.get(keyOf(id, version)) ?? {}
      await appendChange(log, {
        timestamp: new Date(clock()).toISOString(),
        action: from === undefined ? 'model:load' : 'model:rollback',
        status: 'success',
        model_id: id,
        model_version: version,
        model_digest: digest,
        detail: { from, trained_at: manifest?.trained_at, signer }
      })
      learn(id, version, manifest?.trained_at, from !== undefined)
    }
  }
}

function trainedAtOf (detail: LoggedRecord['detail']): string | undefined {
  const trainedAt = detail?.trained_at
  return typeof trainedAt === 'string' ? trainedAt : undefined
}

function keyOf (name: string, version: string): string {
  return `${name}\n${version}`
}
