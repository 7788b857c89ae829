import { fieldsOf, malformed } from './protobuf.ts'

// The messages of onnx.proto that a tensor or a node can stand in, each with the fields that lead there, and what those hold.
const messages = {
  model: { 7: 'graph', 8: 'opset', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparseTensor' },
  function: { 7: 'node', 9: 'opset', 11: 'attribute' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparseTensor', 23: 'sparseTensor' },
  sparseTensor: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
  opset: {}
} as const satisfies Readonly<Record<string, Readonly<Record<number, string>>>>

/** A kind of message of onnx.proto. */
export type MessageKind = keyof typeof messages

/** A message, and those it stands in. */
export interface Message {
  readonly kind: MessageKind
  readonly content: Buffer
  /** The function of the model that it belongs to; `undefined` for what belongs to its graphs. */
  readonly within: Buffer | undefined
  /** How many messages it stands in: an initializer of the model's own graph, for one, stands in two. */
  readonly depth: number
}

// Protocol Buffers' own limit on nested messages.
const maxDepth = 100

/**
 * Every message of an ONNX model, each before those in it.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not well-formed, or nested too deeply.
 */
export function * messagesIn (model: Uint8Array): Generator<Message> {
  yield * descend({ kind: 'model', content: Buffer.from(model.buffer, model.byteOffset, model.byteLength), within: undefined, depth: 0 })
}

function * descend (message: Message): Generator<Message> {
  if (message.depth > maxDepth) throw malformed('is nested too deeply')
  yield message
  const { kind, content, depth } = message
  const fields: Readonly<Record<number, MessageKind>> = messages[kind]
  // Of a tensor, whose every number may be a field, its reader looks at the fields.
  if (Object.keys(fields).length === 0) return
  const within = kind === 'function' ? content : message.within
  for (const part of fieldsOf(content)) {
    const inner = fields[part.field]
    if (inner !== undefined && part.content !== undefined) yield * descend({ kind: inner, content: part.content, within, depth: depth + 1 })
  }
}
