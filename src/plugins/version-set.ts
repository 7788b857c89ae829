import { guardError, type GuardError } from '../errors.ts'
import type { LoadedModel } from '../model/load-model.ts'
import type { Principal } from '../principal.ts'
import { isChosen, type Canary } from './canary.ts'
import { holdBy } from './model-hold.ts'
import { versionOf, type ModelVersion, type VersionState } from './model-handle.ts'

/** A version that was loaded. */
export interface Entry {
  readonly handle: ModelVersion
  /** Of its sealed bundle. */
  readonly directory: string
  readonly loaded: LoadedModel
  /** How many requests were decided upon it. */
  holders: number
  whenFree: () => void
}

/** The loaded versions of one model. Whoever changes it does so one change after the other. */
export class VersionSet {
  readonly id: string
  readonly #canaryKey: Uint8Array
  readonly #kept = new Map<string, Entry>()
  /** What is current, last, and what was so before. */
  #served: readonly Entry[] = []
  #canary: Canary | null = null

  constructor (id: string, canaryKey: Uint8Array) {
    this.id = id
    this.#canaryKey = canaryKey
  }

  get canary (): Canary | null {
    return this.#canary
  }

  /** The current one first, then what was current before, the last first, then the others in the order in which they were loaded. */
  get entries (): readonly Entry[] {
    return [...new Set([...this.#served.toReversed(), ...this.#kept.values()])]
  }

  /** What a rollback goes back to. */
  get previous (): Entry | undefined {
    return this.#served.at(-2)
  }

  /** That of this name; without one, that which this principal is served. */
  find (version: string | undefined, principal: Principal | null): ModelVersion | null {
    if (version !== undefined) return this.#kept.get(version)?.handle ?? null
    const canary = this.#canary
    const kept = canary !== null && principal !== null && isChosen(canary, this.id, principal, this.#canaryKey) ? this.#kept.get(canary.version) : this.#served.at(-1)
    return kept?.handle ?? null
  }

  /** @throws FMG_ERR_MODEL_UNKNOWN when there is no such version. */
  require (version: string): Entry {
    const entry = this.#kept.get(version)
    if (entry === undefined) throw guardError('FMG_ERR_MODEL_UNKNOWN', { reason: 'version-unknown' })
    return entry
  }

  /** The first is the current one. */
  add (loaded: LoadedModel, directory: string): ModelVersion {
    const handle: ModelVersion = versionOf(this.id, loaded, () => this.#stateOf(handle.version))
    const kept: Entry = { handle, directory, loaded, holders: 0, whenFree: () => undefined }
    this.#kept.set(handle.version, kept)
    if (this.#served.length === 0) this.#served = [kept]
    holdBy(handle, () => {
      kept.holders++
      return () => {
        kept.holders--
        if (kept.holders === 0) kept.whenFree()
      }
    })
    return handle
  }

  /** Has this version serve everybody; the canary ends when it was this one. */
  promote (version: string): void {
    const entry = this.require(version)
    this.#serve([...this.#served.filter((other) => other !== entry), entry])
  }

  /** Has the previous version serve everybody again. */
  rollback (): void {
    this.#serve(this.#served.slice(0, -1))
  }

  /** Has a rollback go back to this version first. */
  remember (version: string): void {
    this.#served = this.#served.toSpliced(-1, 0, this.require(version))
  }

  #serve (served: readonly Entry[]): void {
    this.#served = served
    if (this.#canary !== null && this.#stateOf(this.#canary.version) === 'current') this.#canary = null
  }

  setCanary (canary: Canary | null): void {
    this.#canary = canary
  }

  /** Takes a version out at once; resolves when all requests that were decided upon it are over, its last run too, and its threads have ended. */
  async remove (version: string): Promise<void> {
    const kept = this.require(version)
    this.#kept.delete(version)
    this.#served = this.#served.filter((other) => other !== kept)
    if (kept.holders > 0) await new Promise<void>((resolve) => { kept.whenFree = resolve })
    await kept.loaded.session.close()
  }

  /** Ends all threads when the runs that were taken have ended. */
  async close (): Promise<void> {
    await Promise.all([...this.#kept.values()].map(async ({ loaded }) => { await loaded.session.close() }))
  }

  /** @throws FMG_ERR_MODEL_CONFLICT for what somebody is served. */
  requireIdle (version: string): void {
    const state = this.#stateOf(version)
    if (state === 'current') throw conflict('it is the current one: promote another first', 'version-current')
    if (state === 'canary') throw conflict('it is the canary: end that first', 'version-canary')
  }

  #stateOf (version: string): VersionState {
    const place = this.#served.findIndex(({ handle }) => handle.version === version)
    if (place !== -1 && place === this.#served.length - 1) return 'current'
    if (version === this.#canary?.version) return 'canary'
    return place === -1 ? 'loaded' : 'previous'
  }
}

/** A change that the state of the versions does not allow. */
export function conflict (detail: string, reason: string): GuardError {
  return guardError('FMG_ERR_MODEL_CONFLICT', { detail, reason })
}
