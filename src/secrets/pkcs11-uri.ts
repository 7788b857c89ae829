import path from 'node:path'
import { guardError } from '../errors.ts'

/** What a PKCS #11 URI (RFC 7512) says of a key on a token. */
export interface Pkcs11Uri {
  /** The URI without its query: what names the key, and not where its module lies on this machine. */
  readonly keyId: string
  /** By which tokens are told apart: texts as the token itself has them. */
  readonly token: Readonly<Record<'label' | 'manufacturerID' | 'serialNumber' | 'model', string | undefined>>
  readonly label: string | undefined
  readonly id: Buffer | undefined
  readonly type: 'private' | 'public' | 'secret-key' | undefined
  readonly modulePath: string
  /** A reference to the PIN. */
  readonly pinSource: string | undefined
}

interface Part {
  readonly separator: string
  readonly names: readonly string[]
  /** RFC 7512 section 2.3: what a value may consist of. */
  readonly value: RegExp
}

const pathPart: Part = {
  separator: ';',
  names: ['token', 'manufacturer', 'serial', 'model', 'object', 'id', 'type'],
  value: /^(?:[\w\-.~:[\]@!$'()*+,=&]|%[\dA-Fa-f]{2})+$/
}
const queryPart: Part = {
  separator: '&',
  names: ['module-path', 'pin-source'],
  value: /^(?:[\w\-.~:[\]@!$'()*+,=/?|]|%[\dA-Fa-f]{2})+$/
}
const types = ['private', 'public', 'secret-key'] as const

/**
 * Reads `pkcs11:token=…;object=…;id=…;type=…?module-path=…&pin-source=…`. An attribute it does not know is refused: passed over, it could have
 * meant another key.
 * @param place names the option in errors, which quote nothing of the URI.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function parsePkcs11Uri (uri: string, place: string): Pkcs11Uri {
  const [, named = '', query = ''] = /^pkcs11:([^?]*)(?:\?(.*))?$/s.exec(uri) ?? []
  // Before all else: whatever is wrong beside it, this is what must be mended.
  if (/pin-value/i.test(uri)) throw refused(place, 'must not hold a PIN (pin-value): say where it is kept, with pin-source')
  const attributes = readAttributes(named, pathPart, place)
  const asked = readAttributes(query, queryPart, place)
  const text = (values: ReadonlyMap<string, Buffer>, name: string): string | undefined => decode(values.get(name), place)
  const typeText = text(attributes, 'type')
  const type = types.find((known) => known === typeText)
  if (typeText !== type) throw refused(place, `must have as type one of ${types.join(', ')}`)
  if (!attributes.has('object') && !attributes.has('id')) throw refused(place, 'must name a key, by object, id or both')
  const modulePath = text(asked, 'module-path')
  // A bare name would be sought wherever the environment says.
  if (modulePath === undefined || !path.isAbsolute(modulePath)) throw refused(place, 'must have as module-path the absolute path of the token\'s module')
  return {
    keyId: `pkcs11:${named}`,
    token: { label: text(attributes, 'token'), manufacturerID: text(attributes, 'manufacturer'), serialNumber: text(attributes, 'serial'), model: text(attributes, 'model') },
    label: text(attributes, 'object'),
    id: attributes.get('id'),
    type,
    modulePath,
    pinSource: text(asked, 'pin-source')
  }
}

function readAttributes (text: string, { separator, names, value: pattern }: Part, place: string): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>()
  for (const attribute of text === '' ? [] : text.split(separator)) {
    const [, name = '', value = ''] = /^([a-z-]+)=(.*)$/s.exec(attribute) ?? []
    if (!names.includes(name)) throw refused(place, `must have no attributes but ${pathPart.names.join(', ')}, and after a question mark ${queryPart.names.join(', ')}`)
    if (found.has(name)) throw refused(place, `must have ${name} no more than once`)
    if (!pattern.test(value)) throw refused(place, `must have ${name} percent-encoded (RFC 7512)`)
    found.set(name, Buffer.from(value.replaceAll(/%(..)/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))), 'latin1'))
  }
  return found
}

function decode (bytes: Buffer | undefined, place: string): string | undefined {
  if (bytes === undefined) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw refused(place, 'must be UTF-8 where it is text')
  }
}

function refused (place: string, expected: string): Error {
  return guardError('FMG_ERR_OPTION_INVALID', { detail: `${place} ${expected}` })
}
