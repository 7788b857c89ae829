import type { LoadedModel } from '../model/load-model.ts'
import type { Principal } from '../principal.ts'
import { turns, type Turns } from '../turns.ts'
import { readCanary, type Canary, type CanaryOptions } from './canary.ts'
import type { ModelChange, ModelChangeAuthor, Models } from './loaded-models.ts'
import type { ModelVersion } from './model-handle.ts'
import { conflict, VersionSet, type Entry } from './version-set.ts'

export interface RegistryOptions {
  /** Opens a sealed model of this name and starts it; `aside`: whoever is served it names it. */
  readonly open: (id: string, directory: string, place: 'serving' | 'aside') => Promise<LoadedModel>
  readonly canaryKey: Uint8Array
  readonly maxVersions: number
}

/** The models of a server: one change of a model after the other, each told before it is made. */
export class ModelRegistry implements Models {
  readonly #options: RegistryOptions
  readonly #sets = new Map<string, VersionSet>()
  readonly #turns = new Map<string, Turns>()
  readonly #listeners: ((change: ModelChange) => Promise<void>)[] = []
  readonly #leaving = new Set<Promise<void>>()

  constructor (options: RegistryOptions) {
    this.#options = options
  }

  find (id: string, version?: string, principal: Principal | null = null): ModelVersion | null {
    return this.#sets.get(id)?.find(version, principal) ?? null
  }

  list (): readonly ModelVersion[] {
    return [...this.#sets.values()].flatMap(({ entries }) => entries.map(({ handle }) => handle))
  }

  canaryOf (id: string): Canary | null {
    return this.#sets.get(id)?.canary ?? null
  }

  directoryOf (id: string, version: string): string {
    return this.#setOf(id).require(version).directory
  }

  whenChanged (listener: (change: ModelChange) => Promise<void>): void {
    this.#listeners.push(listener)
  }

  async load (id: string, directory: string, by?: ModelChangeAuthor): Promise<ModelVersion> {
    return await this.#load(id, directory, 'serving', by)
  }

  /** Loads a version as the last start left it: one that was current before the current one, after those that were so earlier, or another. */
  async restore (id: string, directory: string, state: 'previous' | 'loaded'): Promise<void> {
    const { version } = await this.#load(id, directory, 'aside')
    if (state === 'previous') this.#setOf(id).remember(version)
  }

  async #load (id: string, directory: string, place: 'serving' | 'aside', by?: ModelChangeAuthor): Promise<ModelVersion> {
    return await this.#inTurn(id, async () => {
      const set = this.#setOf(id)
      if (set.entries.length >= this.#options.maxVersions) throw conflict(`${this.#options.maxVersions} versions are loaded: unload one first`, 'version-many')
      const loaded = await this.#open(id, directory, place, by)
      const { manifest: { version }, statementDigest: digest, session } = loaded
      try {
        const same = set.entries.find(({ handle }) => handle.version === version)
        if (same !== undefined) throw conflict(`a version ${version} is loaded already`, 'version-loaded')
        await this.#tell({ kind: 'load', model: id, version, digest, by })
      } catch (error) {
        await session.close()
        throw error
      }
      this.#sets.set(id, set)
      return set.add(loaded, directory)
    })
  }

  async promote (id: string, version: string, by?: ModelChangeAuthor): Promise<ModelVersion> {
    return await this.#inTurn(id, async () => {
      const set = this.#setOf(id)
      const { handle } = set.require(version)
      if (handle.state === 'current') return handle
      if (!handle.ready) throw conflict('it has no worker', 'version-not-ready')
      await this.#tell({ kind: 'promote', ...changeOf(set, handle), by })
      set.promote(version)
      return handle
    })
  }

  async rollback (id: string, by?: ModelChangeAuthor): Promise<ModelVersion> {
    return await this.#inTurn(id, async () => {
      const set = this.#setOf(id)
      const { previous } = set
      if (previous === undefined) throw conflict('there is no previous version', 'version-first')
      await this.#tell({ kind: 'rollback', ...changeOf(set, previous.handle), by })
      set.rollback()
      return previous.handle
    })
  }

  async setCanary (id: string, options: CanaryOptions | null, by?: ModelChangeAuthor): Promise<void> {
    const canary = options === null ? null : readCanary(options, 'canary')
    await this.#inTurn(id, async () => {
      const set = this.#setOf(id)
      const wanted = canary === null ? undefined : set.require(canary.version).handle
      if (wanted?.state === 'current') throw conflict('it is the current one', 'version-current')
      await this.#tell({ kind: 'canary', model: id, version: wanted?.version, digest: wanted?.digest, canary, by })
      set.setCanary(canary)
    })
  }

  async unload (id: string, version: string, by?: ModelChangeAuthor): Promise<{ readonly ended: Promise<void> }> {
    return await this.#inTurn(id, async () => {
      const set = this.#setOf(id)
      const { handle: { digest } } = set.require(version)
      set.requireIdle(version)
      await this.#tell({ kind: 'unload', model: id, version, digest, by })
      const ended = set.remove(version)
      this.#leaving.add(ended)
      void ended.then(() => { this.#leaving.delete(ended) })
      return { ended }
    })
  }

  /** Ends all threads. */
  async close (): Promise<void> {
    await Promise.all([...this.#turns.values()].map(async (mine) => { await mine.over() }))
    await Promise.all([...this.#leaving, ...[...this.#sets.values()].map(async (set) => { await set.close() })])
  }

  async #inTurn<T> (id: string, work: () => Promise<T>): Promise<T> {
    const mine = this.#turns.get(id) ?? turns()
    this.#turns.set(id, mine)
    return await mine.take(work)
  }

  #setOf (id: string): VersionSet {
    return this.#sets.get(id) ?? new VersionSet(id, this.#options.canaryKey)
  }

  async #open (id: string, directory: string, place: 'serving' | 'aside', by: ModelChangeAuthor | undefined): Promise<LoadedModel> {
    try {
      return await this.#options.open(id, directory, place)
    } catch (error) {
      await this.#tell({ kind: 'load', model: id, error, by })
      throw error
    }
  }

  async #tell (change: ModelChange): Promise<void> {
    for (const listener of this.#listeners) await listener(change)
  }
}

function changeOf (set: VersionSet, { version, digest }: ModelVersion): Omit<ModelChange, 'kind' | 'by'> {
  const current: Entry | undefined = set.entries[0]
  return { model: set.id, version, digest, from: current?.handle.version }
}
