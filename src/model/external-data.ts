import { guardError } from '../errors.ts'
import { messagesIn, type Message } from './onnx-messages.ts'
import { fieldsOf, malformed } from './protobuf.ts'

// Fields of TensorProto and of StringStringEntryProto; data_location DEFAULT is 0.
const externalData = 13
const dataLocation = 14
const inside = 0
const entryKey = 1

// A tensor in the model's own graph: one that is an initializer, and neither sparse, nor an attribute's, nor in a subgraph, a function or a training graph.
const initializerDepth = 2

/**
 * The files that the initializers of an ONNX model lie in outside of it. A runtime that is not given them would read them from the disk, unsigned.
 * @returns the locations as the model names them, each once.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not a well-formed message, when a tensor lies outside and does not say where, and when one does
 * that is anything but an initializer of the model's own graph: ONNX Runtime reads the others from its working directory whatever it is given.
 */
export function externalLocations (model: Uint8Array): readonly string[] {
  const locations = new Set<string>()
  for (const message of messagesIn(model)) if (message.kind === 'tensor') for (const location of locationsOf(message)) locations.add(location)
  return [...locations]
}

/**
 * Demands that every file a model keeps tensors in is given to its runtime: the last word before that looks for it on the disk.
 * @throws FMG_ERR_BUNDLE_INVALID naming the first that is not; and as `externalLocations` does.
 */
export function requireGiven (model: Uint8Array, given: readonly { readonly path: string }[]): void {
  const missing = externalLocations(model).find((location) => !given.some(({ path }) => path === location))
  if (missing !== undefined) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `model.onnx keeps tensors in ${JSON.stringify(missing)}, which is not given`, reason: 'external-data' })
}

/**
 * Where a tensor lies outside of the model. Entries count even where data_location does not say EXTERNAL: two halves of one message would be merged before they
 * are looked at.
 * @throws FMG_ERR_BUNDLE_INVALID when it lies outside and does not say where, or is anything but an initializer of the model's own graph.
 */
export function locationsOf ({ content: tensor, depth }: Message): readonly string[] {
  const locations: string[] = []
  let isExternal = false
  let isLocated = false
  for (const { field, content, value } of fieldsOf(tensor)) {
    // Whatever else it is, cut to 32 bits it may be EXTERNAL.
    if (field === dataLocation && value !== inside) isExternal = true
    if (field !== externalData || content === undefined) continue
    const parts = [...fieldsOf(content)].map((part) => ({ field: part.field, text: part.content?.toString() ?? '' }))
    if (!parts.some((part) => part.field === entryKey && part.text === 'location')) continue
    isLocated = true
    for (const part of parts) if (part.field !== entryKey) locations.push(part.text)
  }
  if (isExternal && !isLocated) throw malformed('has a tensor outside of it that is nowhere')
  if (isLocated && depth !== initializerDepth) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: 'model.onnx keeps a tensor outside of it that is no initializer of its own graph', reason: 'external-data' })
  return locations
}
