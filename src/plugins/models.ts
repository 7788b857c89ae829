import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { openModel, type OpenedModel, type OpenModelOptions } from '../model/open-model.ts'
import { startSession, type ModelSession, type RunOptions } from '../model/session.ts'
import type { Tensor, TensorMetadata } from '../model/tensor.ts'
import type { Trust } from '../model/trust.ts'
import type { RunOutput } from '../model/worker-lane.ts'
import { anyThat, functionOf, havingMethods, integer, listOf, object, optional, recordOf, string, withDefault } from '../options.ts'
import type { KeyProvider } from '../secrets/key-provider.ts'
import { checkOrder, pluginName } from './pipeline.ts'

/** One loaded version of a model: what the policy judges is what runs. */
export interface ModelHandle {
  readonly id: string
  readonly version: string
  /** `sha256:<hex>` of the statement that was verified and signed. */
  readonly digest: string
  /** The members of the signed `model.json`: what policies see. */
  readonly attributes: Readonly<Record<string, unknown>>
  readonly inputs: readonly TensorMetadata[]
  readonly outputs: readonly TensorMetadata[]
  readonly ready: boolean
  /** Milliseconds for which the run that waits longest has waited; 0 when none waits. */
  readonly waitMs: number
  /** Milliseconds that a run took lately, the last runs counting most; 0 before the first has ended. */
  readonly runMs: number
  /**
   * Runs the model in its worker.
   * @throws FMG_ERR_INPUT_INVALID, FMG_ERR_MODEL_BUSY, FMG_ERR_MODEL_FAILED
   */
  run (inputs: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<RunOutput>
}

/** `app.models`: what this server has loaded. */
export interface Models {
  /** Without a version, the loaded one. */
  find (id: string, version?: string): ModelHandle | null
  list (): readonly ModelHandle[]
}

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

export interface ModelsOptions {
  /** Name of each model, and the folder of its sealed bundle. */
  readonly models: Readonly<Record<string, { readonly directory: string }>>
  /** Keys that may open bundles; a bundle's own word on algorithms counts for nothing. */
  readonly keys: readonly KeyProvider[]
  /** Who may sign. */
  readonly trust: Trust
  /** Looks at the signed manifest of each before it is decrypted, for instance whether it is too old. What it throws refuses the model. Default: all are admitted. */
  readonly admit?: NonNullable<OpenModelOptions['admit']>
  /** Threads of the runtime a model. Default: one fewer than there are cores. */
  readonly threads?: number
  /** Runs that may wait for a model. Default 64. */
  readonly queueLimit?: number
  /** Longest wait and run. Default 30,000. */
  readonly timeoutMs?: number
}

const readOptions = object({
  models: recordOf(object({ directory: string() })),
  keys: listOf(havingMethods<KeyProvider>('wrap', 'unwrap')),
  trust: anyThat((value): value is Trust => typeof value === 'object' && value !== null, 'whom to trust'),
  admit: optional(functionOf<NonNullable<OpenModelOptions['admit']>>()),
  threads: optional(integer({ min: 1 })),
  queueLimit: withDefault(integer({ min: 0 }), 64),
  timeoutMs: withDefault(integer({ min: 1 }), 30_000)
})

/**
 * Loads signed, sealed models at boot, each into a worker of its own. A model that does not verify stops the boot.
 */
export const models = fp(async function models (app: FastifyInstance, options: ModelsOptions): Promise<void> {
  checkOrder(app, 'models')
  const { models: wanted, keys, trust, admit, ...sessionOptions } = readOptions(options, 'models')
  const loaded = new Map<string, ModelHandle>()
  const sessions: ModelSession[] = []
  app.addHook('onClose', async () => { await Promise.all(sessions.map((session) => session.close())) })

  for (const [id, { directory }] of Object.entries(wanted)) {
    const opened = await openModel({ directory, keys, trust, admit, expectName: id })
    const session = await startSession(opened, sessionOptions)
    sessions.push(session)
    loaded.set(id, handleOf(id, opened, session))
    app.log.info({ model: id, version: opened.manifest.version, digest: opened.statementDigest, signer: opened.signer }, 'model loaded')
  }

  app.decorateRequest('model', null)
  app.decorate('models', {
    find (id, version) {
      const handle = loaded.get(id) ?? null
      return version === undefined || handle?.version === version ? handle : null
    },
    list: () => [...loaded.values()]
  } satisfies Models)
}, { name: pluginName('models'), fastify: '5.x' })

function handleOf (id: string, { manifest: { attributes, ...named }, statementDigest }: OpenedModel, session: ModelSession): ModelHandle {
  let isReady = true
  void session.closed.then(() => { isReady = false })
  return Object.freeze({
    id,
    version: named.version,
    digest: statementDigest,
    attributes: Object.freeze({ ...attributes, ...named }),
    inputs: session.inputs,
    outputs: session.outputs,
    get ready () { return isReady },
    get waitMs () { return session.waitMs },
    get runMs () { return session.runMs },
    run: async (inputs: Readonly<Record<string, Tensor>>, options = {}) => await session.run(inputs, options)
  })
}
