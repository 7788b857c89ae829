import { randomBytes } from 'node:crypto'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { isGuardError } from '../errors.ts'
import { readBatch, type BatchOptions } from '../model/batching.ts'
import { readBomGate, type BomGateOptions } from '../model/bom/bom-gate.ts'
import { readGraphRules, type GraphRules } from '../model/graph-rules.ts'
import { loadModel } from '../model/load-model.ts'
import type { Manifest } from '../model/manifest.ts'
import type { ModelSigner, Trust } from '../model/trust.ts'
import type { WorkerEvent } from '../model/worker-pool.ts'
import { anyThat, functionOf, havingMethods, integer, listOf, object, optional, recordOf, string, withDefault } from '../options.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { readCanary, type CanaryOptions } from './canary.ts'
import { logProgress } from './load-progress.ts'
import type { Models } from './loaded-models.ts'
import type { ModelHandle } from './model-handle.ts'
import { noteReplies } from './model-hold.ts'
import { ModelRegistry, type RegistryOptions } from './model-registry.ts'
import { checkOrder, pluginName } from './pipeline.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Only where the models plugin is registered. */
    models: Models
  }
  interface FastifyRequest {
    /** The handle that was decided upon; `null` where the route is about no loaded model. */
    model: ModelHandle | null
  }
}

/** Whether a version is loaded. */
export type Admit = (manifest: Manifest, signer: ModelSigner, place: 'serving' | 'aside') => void | Promise<void>

/** A model to load at boot. */
export interface ModelOptions {
  /** Folder of the sealed bundle of its current version. */
  readonly directory: string
  /** Folders of versions that were current before; the last is what `rollback` goes back to. Default none. */
  readonly previous?: readonly string[]
  /** Folders of versions that serve whoever names them. Default none. */
  readonly beside?: readonly string[]
  readonly canary?: CanaryOptions
  /** Runs requests together. Default: each by itself. */
  readonly batch?: BatchOptions
}

export interface ModelsOptions {
  /** Name of each model, and where it is. */
  readonly models: Readonly<Record<string, ModelOptions>>
  /** Keys that may open bundles; a bundle's own word on algorithms counts for nothing. */
  readonly keys: readonly KeyProvider[]
  /** Who may sign; a function is asked for every load, so that a change counts from the next one on. What is loaded already stays. */
  readonly trust: Trust | (() => Trust | Promise<Trust>)
  /**
   * Looks at the signed manifest of every version before it is decrypted, for instance whether it is too old. What it throws refuses that version; `aside` are those
   * that at boot are loaded for a rollback, or for whoever names them: of these one that is refused with FMG_ERR_MODEL_ROLLBACK is left out. Default: all are admitted.
   */
  readonly admit?: Admit
  /** What a graph may ask of the runtime. */
  readonly graph?: GraphRules | undefined
  /** Looks at the bill of materials of every version. Default: none is looked at. What is found and does not refuse it is logged. */
  readonly bom?: BomGateOptions | undefined
  /** Bytes of the sealed files of a version. Default: half of the memory that this process may use. */
  readonly maxModelBytes?: number | undefined
  /** Workers a version, each a thread with its own copy of the model. Default 1. */
  readonly workers?: number
  /** Threads of the runtime a worker. Default: one fewer than there are cores. */
  readonly threads?: number
  /** Bytes of JavaScript memory above which a worker is replaced, as in {@link SessionOptions}. Default: no bound. */
  readonly maxWorkerBytes?: number
  /** Runs after which a worker is replaced. Default: no bound. */
  readonly maxWorkerRuns?: number
  /** Runs that may wait for a version. Default 64. */
  readonly queueLimit?: number
  /** Longest wait and run. Default 30,000. */
  readonly timeoutMs?: number
  /** Versions of one model that may be loaded at once: each takes its memory. Default 4. */
  readonly maxVersions?: number
  /** Chooses the principals of a canary by share: at least 16 bytes, the same on all nodes. Default: random, other principals after every start. */
  readonly canaryKey?: Uint8Array
}

const folders = withDefault(listOf(string()), [])
const readModel = object({ directory: string(), previous: folders, beside: folders, canary: optional(readCanary), batch: optional(readBatch) })

const readOptions = object({
  models: recordOf(readModel),
  keys: listOf(havingMethods<KeyProvider>('wrap', 'unwrap')),
  trust: anyThat((value): value is ModelsOptions['trust'] => typeof value === 'function' || (typeof value === 'object' && value !== null), 'whom to trust'),
  admit: withDefault(functionOf<Admit>(), () => undefined),
  graph: readGraphRules,
  bom: optional(readBomGate),
  maxModelBytes: optional(integer({ min: 1 })),
  workers: withDefault(integer({ min: 1, max: 64 }), 1),
  threads: optional(integer({ min: 1 })),
  maxWorkerBytes: optional(integer({ min: 1 })),
  maxWorkerRuns: optional(integer({ min: 1 })),
  queueLimit: withDefault(integer({ min: 0 }), 64),
  timeoutMs: withDefault(integer({ min: 1 }), 30_000),
  maxVersions: withDefault(integer({ min: 1, max: 64 }), 4),
  canaryKey: optional(anyThat((value): value is Uint8Array => value instanceof Uint8Array && value.length >= 16, 'at least 16 bytes'))
})

/**
 * Loads signed, sealed models at boot, each into workers of its own, and swaps their versions while they serve. A model that does not verify stops the boot.
 */
export const models = fp(async function models (app: FastifyInstance, options: ModelsOptions): Promise<void> {
  checkOrder(app, 'models')
  const { models: wanted, keys, trust, admit, graph, bom, maxModelBytes: maxBytes, maxVersions, canaryKey = randomBytes(32), ...sessionOptions } = readOptions(options, 'models')
  const open: RegistryOptions['open'] = async (id, directory, place) => {
    const { canary, batch } = wanted[id] ?? {}
    const named = { model: id, version: '' }
    const judge = async (manifest: Manifest, signer: ModelSigner): Promise<void> => {
      // Whom a canary chooses has not named it.
      await admit(manifest, signer, manifest.version === canary?.version ? 'serving' : place)
    }
    const opening = { directory, keys, trust: typeof trust === 'function' ? await trust() : trust, graph, bom, maxBytes, admit: judge, expectName: id, onProgress: logProgress(app.log, id) }
    const loaded = await loadModel(opening, { ...sessionOptions, batch, watch: (event) => { logWorker(app.log, named, event) } })
    named.version = loaded.manifest.version
    if (loaded.findings.length > 0) app.log.warn({ ...named, findings: loaded.findings }, 'found in a bill of materials')
    app.log.info({ ...named, digest: loaded.statementDigest, signer: loaded.signer }, 'model loaded')
    return loaded
  }
  const registry = new ModelRegistry({ open, canaryKey, maxVersions })
  app.addHook('onClose', async () => { await registry.close() })

  for (const [id, { directory, previous, beside, canary }] of Object.entries(wanted)) {
    await registry.load(id, directory)
    const leftOut = [
      ...await loadAside(app.log, previous, async (folder) => { await registry.restore(id, folder, 'previous') }),
      ...await loadAside(app.log, beside, async (folder) => { await registry.restore(id, folder, 'loaded') })
    ]
    if (canary !== undefined && (leftOut.length === 0 || registry.find(id, canary.version) !== null)) await registry.setCanary(id, canary)
  }

  noteReplies(app)
  app.decorateRequest('model', null)
  app.decorate('models', registry)
}, { name: pluginName('models'), fastify: '5.x' })

/** Loads what serves nobody who does not name it. @returns the folders of those that have since become too old. */
async function loadAside (log: FastifyBaseLogger, directories: readonly string[], load: (directory: string) => Promise<void>): Promise<readonly string[]> {
  const leftOut: string[] = []
  for (const directory of directories) {
    try {
      await load(directory)
    } catch (error) {
      if (!isGuardError(error, 'FMG_ERR_MODEL_ROLLBACK')) throw error
      log.error({ directory, err: error }, 'a version that is too old is left out')
      leftOut.push(directory)
    }
  }
  return leftOut
}

function logWorker (log: FastifyBaseLogger, named: { readonly model: string, readonly version: string }, event: WorkerEvent): void {
  if (event.kind === 'lost') log.error({ ...named, err: event.error }, 'a worker is lost')
  else if (event.kind === 'worn') log.warn({ ...named, memoryBytes: event.memoryBytes, runs: event.runs }, 'a worker is worn')
  else if (event.kind === 'replaced') log.info({ ...named, workers: event.workers }, 'workers are replaced')
  else log.error({ ...named, err: event.error, retryMs: event.retryMs }, 'a worker cannot be replaced')
}
