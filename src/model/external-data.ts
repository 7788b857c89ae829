import { messagesIn } from './onnx-messages.ts'
import { fieldsOf, malformed } from './protobuf.ts'

// Fields of TensorProto and of StringStringEntryProto; data_location EXTERNAL is 1.
const externalData = 13
const dataLocation = 14
const external = 1
const entryKey = 1

/**
 * The files that the tensors of an ONNX model lie in outside of it: initializers, sparse ones, and those in attributes of nodes, subgraphs,
 * functions and training graphs. A runtime that is not given them would read them from the disk, unsigned.
 * @returns the locations as the model names them, each once.
 * @throws FMG_ERR_BUNDLE_INVALID when it is not a well-formed message, or a tensor lies outside and does not say where.
 */
export function externalLocations (model: Uint8Array): readonly string[] {
  const locations = new Set<string>()
  for (const { kind, content } of messagesIn(model)) if (kind === 'tensor') for (const location of locationsOf(content)) locations.add(location)
  return [...locations]
}

/**
 * Where a tensor lies outside of the model. Entries count even where data_location does not say EXTERNAL: two halves of one message would be merged before they
 * are looked at.
 * @throws FMG_ERR_BUNDLE_INVALID when it lies outside and does not say where.
 */
export function locationsOf (tensor: Buffer): readonly string[] {
  const locations: string[] = []
  let isExternal = false
  let isLocated = false
  for (const { field, content, value } of fieldsOf(tensor)) {
    if (field === dataLocation && value === external) isExternal = true
    if (field !== externalData || content === undefined) continue
    const parts = [...fieldsOf(content)].map((part) => ({ field: part.field, text: part.content?.toString() ?? '' }))
    if (!parts.some((part) => part.field === entryKey && part.text === 'location')) continue
    isLocated = true
    for (const part of parts) if (part.field !== entryKey) locations.push(part.text)
  }
  if (isExternal && !isLocated) throw malformed('has a tensor outside of it that is nowhere')
  return locations
}
