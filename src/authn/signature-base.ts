import { serializeInnerList, serializeItem, type InnerList, type Item } from 'structured-headers'
import { badUpload } from './bad-upload.ts'
import { componentValue, knownTypes, type FieldTypes, type HttpMessage } from './signature-components.ts'

/**
 * What is signed of a message (RFC 9421 section 2.5).
 * @param input components and parameters of the signature.
 * @param types of structured fields of the server's own.
 * @throws FMG_ERR_UPLOAD_INVALID for a component that is named twice, that the message does not have or that is not known.
 */
export function signatureBase (message: HttpMessage, input: InnerList, types: FieldTypes = {}): Buffer {
  const [components] = input
  if (new Set(components.map(nameOf)).size !== components.length) throw badUpload('component-twice')
  const all = { ...types, ...knownTypes }
  const lines = components.map((component) => `${serializeItem(component)}: ${componentValue(message, component, all)}`)
  return Buffer.from([...lines, `"@signature-params": ${serializeInnerList(input)}`].join('\n'), 'latin1')
}

/** Section 2: the order of parameters does not make another component. */
function nameOf ([name, parameters]: Item): string {
  const sorted = Array.from(parameters).sort(([a], [b]) => a < b ? -1 : 1)
  return serializeItem([name, new Map(sorted)])
}
