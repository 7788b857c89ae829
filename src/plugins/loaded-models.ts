import type { Approved } from '../approval.ts'
import type { Principal } from '../principal.ts'
import type { Canary, CanaryOptions } from './canary.ts'
import type { ModelHandle, ModelVersion } from './model-handle.ts'

/** Who changed what is loaded, and why. */
export interface ModelChangeAuthor extends Approved {
  /** Why, in words. */
  readonly reason?: string | undefined
}

/** What is about to change, or did not: of the latter there is an error. */
export interface ModelChange {
  readonly kind: 'load' | 'promote' | 'rollback' | 'canary' | 'unload'
  readonly model: string
  /** Left out where no model could be opened, and where a canary ends. */
  readonly version?: string
  readonly digest?: string
  /** The version that was current until then. */
  readonly from?: string
  readonly canary?: Canary | null
  readonly error?: unknown
  readonly by: ModelChangeAuthor | undefined
}

/** `app.models`: what this server has loaded, and how that changes while it serves. */
export interface Models {
  /** Without a version, the one that this principal is served: the canary where it is chosen, else the current one. */
  find (id: string, version?: string, principal?: Principal | null): ModelHandle | null
  /** Every loaded version: of each model the current one, then what was current before, the last first, then the others. */
  list (): readonly ModelVersion[]
  /** Who is served another version than the current one; `null`: nobody. */
  canaryOf (id: string): Canary | null
  /**
   * The folder that a loaded version was opened from.
   * @throws FMG_ERR_MODEL_UNKNOWN
   */
  directoryOf (id: string, version: string): string
  /**
   * Opens a sealed bundle and starts it beside the versions that are loaded. Nobody is served it who does not name it, unless it is the first of its model.
   * @throws FMG_ERR_MODEL_CONFLICT when this version, or as many as may be, are loaded already.
   * @throws what `openModel` and `startSession` throw. What was loaded before serves on.
   */
  load (id: string, directory: string, by?: ModelChangeAuthor): Promise<ModelVersion>
  /**
   * Has a loaded version serve everybody from the next decision on. Requests that were decided upon another run on that; it stays loaded, and is what
   * `rollback` goes back to.
   * @throws FMG_ERR_MODEL_UNKNOWN when it is not loaded.
   */
  promote (id: string, version: string, by?: ModelChangeAuthor): Promise<ModelVersion>
  /**
   * Has the version serve that was current before.
   * @throws FMG_ERR_MODEL_CONFLICT when there is none.
   */
  rollback (id: string, by?: ModelChangeAuthor): Promise<ModelVersion>
  /**
   * Serves some principals a loaded version before the others; `null` ends that.
   * @throws FMG_ERR_MODEL_UNKNOWN when it is not loaded, FMG_ERR_MODEL_CONFLICT when it is the current one.
   */
  setCanary (id: string, canary: CanaryOptions | null, by?: ModelChangeAuthor): Promise<void>
  /**
   * Takes a version out: nobody finds it any more. Its threads end when the last request that was decided upon it is over; then `ended` resolves.
   * @throws FMG_ERR_MODEL_UNKNOWN when it is not loaded, FMG_ERR_MODEL_CONFLICT when it is the current one or the canary.
   */
  unload (id: string, version: string, by?: ModelChangeAuthor): Promise<{ readonly ended: Promise<void> }>
  /** Is told of every change before it is made, and of loads that failed. What it throws stops the change. */
  whenChanged (listener: (change: ModelChange) => Promise<void>): void
}
