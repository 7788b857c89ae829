import type { LoadedModel } from '../model/load-model.ts'
import type { RunOptions, SessionMemory } from '../model/session.ts'
import type { Tensor, TensorMetadata } from '../model/tensor.ts'
import type { RunOutput } from '../model/worker-lane.ts'

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
  /** Whether a worker has it. */
  readonly ready: boolean
  /** Milliseconds for which the run that waits longest has waited; 0 when none waits. */
  readonly waitMs: number
  /** Milliseconds that a run took lately, the last runs counting most; 0 before the first has ended. */
  readonly runMs: number
  /**
   * Runs the model in its workers.
   * @throws FMG_ERR_INPUT_INVALID, FMG_ERR_MODEL_BUSY, FMG_ERR_MODEL_UNAVAILABLE, FMG_ERR_MODEL_FAILED
   */
  run (inputs: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<RunOutput>
}

/** Whom a loaded version serves: everybody who names none; those whom the canary chooses; nobody, until a rollback; nobody but who names it. */
export type VersionState = 'current' | 'canary' | 'previous' | 'loaded'

/** A loaded version as operators see it. */
export interface ModelVersion extends ModelHandle {
  readonly state: VersionState
  readonly memory: SessionMemory
}

/** The handle of a model that runs. */
export function versionOf (id: string, { manifest: { attributes, ...named }, statementDigest, session }: LoadedModel, stateOf: () => VersionState): ModelVersion {
  return Object.freeze({
    id,
    version: named.version,
    digest: statementDigest,
    attributes: Object.freeze({ ...attributes, ...named }),
    inputs: session.inputs,
    outputs: session.outputs,
    get state () { return stateOf() },
    get memory () { return session.memory },
    get ready () { return session.ready },
    get waitMs () { return session.waitMs },
    get runMs () { return session.runMs },
    run: async (inputs: Readonly<Record<string, Tensor>>, options = {}) => await session.run(inputs, options)
  })
}
