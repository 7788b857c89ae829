import { isInnerList, parseDictionary, type InnerList } from 'structured-headers'
import { badUpload } from './bad-upload.ts'
import { fieldLines } from './signature-components.ts'

/** A signature of a message (RFC 9421 section 4). Nothing in it is true before it is verified. */
export interface MessageSignature {
  readonly label: string
  /** Components and parameters. */
  readonly input: InnerList
  readonly signature: Buffer
  readonly parameters: SignatureParameters
}

/** Parameters of a signature (RFC 9421 section 2.3), as far as they are heeded. Times in seconds since the epoch. */
export interface SignatureParameters {
  readonly created: number | undefined
  readonly expires: number | undefined
  readonly keyid: string | undefined
  readonly nonce: string | undefined
  readonly alg: string | undefined
  readonly tag: string | undefined
}

// More than anybody signs; each costs a look at all fields.
const maxComponents = 50

/**
 * Reads the signatures of a message. One that is in one of the two fields only is none.
 * @throws FMG_ERR_UPLOAD_INVALID where a field or a parameter is not well-formed.
 */
export function readSignatures (fields: readonly string[]): readonly MessageSignature[] {
  const read = (name: string): ReturnType<typeof parseDictionary> => dictionaryOf(fieldLines(fields, name).join(', '))
  const signatures = read('signature')
  return Array.from(read('signature-input')).flatMap(([label, input]) => {
    const [signature] = signatures.get(label) ?? []
    if (signature === undefined) return []
    if (!isInnerList(input) || !(signature instanceof ArrayBuffer) || input[0].length > maxComponents) throw badUpload('signature-malformed')
    return [{ label, input, signature: Buffer.from(signature), parameters: parametersOf(input) }]
  })
}

function dictionaryOf (text: string): ReturnType<typeof parseDictionary> {
  try {
    return parseDictionary(text)
  } catch {
    throw badUpload('signature-malformed')
  }
}

function parametersOf ([, parameters]: InnerList): SignatureParameters {
  const time = (name: string): number | undefined => {
    const value: unknown = parameters.get(name)
    if (value === undefined || Number.isSafeInteger(value)) return value === undefined ? undefined : Number(value)
    throw badUpload('signature-malformed')
  }
  const text = (name: string): string | undefined => {
    const value: unknown = parameters.get(name)
    if (value === undefined || typeof value === 'string') return value
    throw badUpload('signature-malformed')
  }
  return { created: time('created'), expires: time('expires'), keyid: text('keyid'), nonce: text('nonce'), alg: text('alg'), tag: text('tag') }
}
