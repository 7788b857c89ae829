import { setImmediate as nextTurn } from 'node:timers/promises'
import { locationsOf } from './external-data.ts'
import { messagesIn } from './onnx-messages.ts'
import { fieldsOf, malformed, numbersIn } from './protobuf.ts'

/** What a graph asks of whoever runs it. */
export interface GraphFacts {
  /** What wrote it, by its own word. */
  readonly producer: string
  /** Operator sets that it imports, by their domain: the newest version of each. */
  readonly opsets: ReadonlyMap<string, number>
  /** Operators that it uses, as ONNX Runtime writes them (`Add`, `com.microsoft.FusedMatMul`), and in how many nodes. The model's own functions are not among them. */
  readonly operators: ReadonlyMap<string, number>
  /** Nodes that are run when every function stands in the place of its calls; subgraphs count once. `Infinity` where functions call one another in a circle. */
  readonly nodes: number
  /** Elements of the largest tensor that the model holds. */
  readonly largestTensor: number
  /** Files that its tensors lie in, each once. */
  readonly externalData: readonly string[]
}

/** What a node calls: an operator or a function, and of several functions of that name one. */
interface Called {
  /** Empty for the default one. */
  readonly domain: string
  readonly type: string
  readonly overload: string
}

interface Calls extends Called {
  readonly times: number
}

/** What nodes of one body call, that of the graphs or of a function. */
type Body = Map<string, Calls>

const maxProducerUnits = 256

// Milliseconds between two turns of the event loop.
const turnMs = 5

/**
 * Reads a graph without running any of it.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not a well-formed ONNX model.
 */
export async function readGraph (model: Uint8Array): Promise<GraphFacts> {
  const functions = new Map<string, Body>()
  const bodies = new Map<Buffer | undefined, Body>()
  const opsets = new Map<string, number>()
  const externalData = new Set<string>()
  let producer = ''
  let largestTensor = 0
  let until = performance.now() + turnMs
  for (const message of messagesIn(model)) {
    const { kind, content, within } = message
    if (performance.now() > until) {
      await nextTurn()
      until = performance.now() + turnMs
    }
    if (kind === 'model') producer = texts(content, 2, 3).flat().join(' ').slice(0, maxProducerUnits)
    if (kind === 'opset') addOpset(opsets, content)
    if (kind === 'function') addFunction(functions, calledIn(content, { type: 1, domain: 10, overload: 13 }), bodyOf(content))
    if (kind === 'node') count(bodyOf(within), calledIn(content, { type: 4, domain: 7, overload: 8 }))
    if (kind === 'tensor' || kind === 'sparseTensor') largestTensor = Math.max(largestTensor, elementsOf(content, kind === 'tensor' ? 1 : 3))
    if (kind === 'tensor') for (const location of locationsOf(message)) externalData.add(location)
  }
  const main = bodyOf(undefined)
  return { producer, opsets, operators: operatorsIn([...bodies.values()], functions), nodes: nodesOf(main, functions), largestTensor, externalData: [...externalData] }

  function bodyOf (within: Buffer | undefined): Body {
    const body = bodies.get(within) ?? new Map<string, Calls>()
    bodies.set(within, body)
    return body
  }
}

function addFunction (functions: Map<string, Body>, called: Called, body: Body): void {
  const key = keyOf(called)
  if (functions.has(key)) throw malformed(`has two functions ${JSON.stringify(operatorName(called))}`)
  functions.set(key, body)
}

function count (body: Body, called: Called): void {
  const key = keyOf(called)
  body.set(key, { ...called, times: (body.get(key)?.times ?? 0) + 1 })
}

/** Joined by anything that may stand in a name, two would have one key. */
function keyOf ({ domain, type, overload }: Called): string {
  return JSON.stringify([domain, type, overload])
}

// Where ONNX Runtime has an operator of a function's name, it runs that and not the function.
const runtimeDomains = /^(ai\.onnx|com\.microsoft|com\.ms|org\.pytorch)?(\.|$)/

function operatorsIn (bodies: readonly Body[], functions: ReadonlyMap<string, Body>): Map<string, number> {
  const all = new Map<string, number>()
  for (const body of bodies) {
    for (const [key, called] of body) {
      if (functions.has(key) && !runtimeDomains.test(called.domain)) continue
      const name = operatorName(called)
      all.set(name, (all.get(name) ?? 0) + called.times)
    }
  }
  return all
}

/** As ONNX Runtime writes it. */
function operatorName ({ domain, type }: Called): string {
  // What follows the last dot is the name, or a domain could be taken for a longer one.
  if (type.includes('.')) throw malformed(`has an operator or function named ${JSON.stringify(type)}`)
  return domain === '' ? type : `${domain}.${type}`
}

/** A few functions that call each other twice each stand for more nodes than there is memory. */
function nodesOf (main: Body, functions: ReadonlyMap<string, Body>): number {
  const known = new Map<string, number>()
  const sizeOf = (body: Body): number => [...body].reduce((sum, [key, { times }]) => sum + times * sizeOfNode(key), 0)
  const sizeOfNode = (key: string): number => {
    const body = functions.get(key)
    if (body === undefined) return 1
    const size = known.get(key)
    if (size !== undefined) return size
    // Whoever is asked for again before this is known is in a circle.
    known.set(key, Infinity)
    const found = sizeOf(body)
    known.set(key, found)
    return found
  }
  return sizeOf(main)
}

function addOpset (opsets: Map<string, number>, content: Buffer): void {
  const domain = texts(content, 1).flat().at(-1) || defaultDomain
  const version = [...fieldsOf(content)].findLast(({ field }) => field === 2)?.value ?? 0
  opsets.set(domain, Math.max(version, opsets.get(domain) ?? 0))
}

/** The domain that may be left out. */
export const defaultDomain = 'ai.onnx'

function calledIn (content: Buffer, fields: { readonly type: number, readonly domain: number, readonly overload: number }): Called {
  const [types = [], domains = [], overloads = []] = texts(content, fields.type, fields.domain, fields.overload)
  const [type = ''] = types
  const [domain = ''] = domains
  const [overload = ''] = overloads
  // Of two, an empty one among them, a reader takes the last, and another may not.
  if (type === '' || types.length > 1 || domains.length > 1 || overloads.length > 1) throw malformed('has a node or function whose name is missing or given twice')
  return { domain: domain === defaultDomain ? '' : domain, type, overload }
}

/** The texts of each of these fields. */
function texts (content: Buffer, ...wanted: readonly number[]): string[][] {
  const found: string[][] = wanted.map(() => [])
  for (const part of fieldsOf(content)) if (part.content !== undefined) found[wanted.indexOf(part.field)]?.push(part.content.toString())
  return found
}

/** The product of its dimensions, each a field or all packed in one. */
function elementsOf (content: Buffer, dims: number): number {
  let elements = 1
  for (const { field, content: packed, value } of fieldsOf(content)) {
    if (field !== dims) continue
    for (const size of packed === undefined ? [value ?? 1] : numbersIn(packed)) elements *= size
  }
  return elements
}
