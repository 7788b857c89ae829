import { guardError, type GuardError } from '../errors.ts'
import { integer, listOf, object, string, optional, withDefault, type Reader } from '../options.ts'
import { defaultDomain, type GraphFacts } from './graph.ts'

/** What a graph may ask of the runtime. A signature says whose a model is, not that it is wise. */
export interface GraphRules {
  /** Domains whose operators it may use. Default: those that ONNX Runtime itself implements, `ai.onnx`, `ai.onnx.ml` and `com.microsoft`. */
  readonly domains?: readonly string[] | undefined
  /** Operators that it may use, as ONNX Runtime writes them: `Add`, `com.microsoft.FusedMatMul`. Default: every one of those domains. */
  readonly operators?: readonly string[] | undefined
  /** Nodes, once the model's own functions stand in the place of their calls. Default 1,000,000. */
  readonly maxNodes?: number | undefined
  /** Elements of one tensor that the model holds, a sparse one counted as the dense one that it stands for. Default 2^31. */
  readonly maxTensorElements?: number | undefined
}

/** Rules that were read. */
export type ReadGraphRules = ReturnType<typeof readGraphRules>

const readRules = object({
  domains: withDefault(listOf(string()), [defaultDomain, 'ai.onnx.ml', 'com.microsoft']),
  operators: optional(listOf(string())),
  maxNodes: withDefault(integer({ min: 1 }), 1_000_000),
  maxTensorElements: withDefault(integer({ min: 1 }), 2 ** 31)
})

/** @throws FMG_ERR_OPTION_INVALID */
export const readGraphRules: Reader<ReturnType<typeof readRules>> = (value, path) => readRules(value ?? {}, path)

/**
 * Holds a graph against rules.
 * @throws FMG_ERR_MODEL_REFUSED with reason `operator` or `graph-size`.
 */
export function checkGraph ({ operators, nodes, largestTensor }: GraphFacts, rules: ReadGraphRules): void {
  for (const name of operators.keys()) {
    if (!rules.domains.includes(domainOf(name))) throw refused('operator', `its graph uses ${JSON.stringify(name)}, and no operators of ${JSON.stringify(domainOf(name))} are allowed`)
    if (rules.operators?.includes(name) === false) throw refused('operator', `its graph uses ${JSON.stringify(name)}, which is not among the operators that are allowed`)
  }
  if (nodes > rules.maxNodes) throw refused('graph-size', `its graph comes to ${nodes} nodes, of ${rules.maxNodes} that are allowed`)
  if (largestTensor > rules.maxTensorElements) throw refused('graph-size', `its graph holds a tensor of ${largestTensor} elements, of ${rules.maxTensorElements} that are allowed`)
}

function domainOf (operator: string): string {
  const end = operator.lastIndexOf('.')
  return end === -1 ? defaultDomain : operator.slice(0, end)
}

function refused (reason: string, detail: string): GuardError {
  return guardError('FMG_ERR_MODEL_REFUSED', { reason, detail })
}
