import { guardError } from '../../errors.ts'
import { listOf, optional, string, type Read, type Reader } from '../../options.ts'
import { openObject, parseJson, readPart } from '../read-part.ts'

/** The name of the bill of materials in a model's folder. */
export const bomName = 'bom.cdx.json'

/** A larger one is refused. */
export const maxBomBytes = 67_108_864

const readComponent = openObject({
  type: string(),
  name: string(),
  version: optional(string()),
  purl: optional(string()),
  'bom-ref': optional(string()),
  hashes: optional(listOf(openObject({ alg: string(), content: string() })))
})

/** A component of a bill of materials, as far as it is looked at. */
export type BomComponent = Read<typeof readComponent>

/** A bill of materials (CycloneDX), as far as it is looked at. */
export interface Bom {
  readonly specVersion: string
  /** What it describes, then what that is made of; each before what is within it. */
  readonly components: readonly BomComponent[]
}

const readWithin = openObject({ components: optional(listOf((value, path) => ({ value, path }))) })
const readDocument = openObject({ bomFormat: string(/^CycloneDX$/, 'CycloneDX'), specVersion: string(), metadata: optional(openObject({ component: optional(readTree) })) })

/**
 * Reads a bill of materials in JSON. Whether it keeps to the schema is for `schemaProblem` to say.
 * @throws FMG_ERR_BUNDLE_INVALID
 */
export function readBom (bytes: Uint8Array): Bom {
  if (bytes.length > maxBomBytes) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${bomName} is larger than ${maxBomBytes} bytes`, reason: 'too-large' })
  const value = parseJson(bytes, bomName)
  const { specVersion, metadata } = readPart(readDocument, value, bomName)
  return { specVersion, components: [...metadata?.component ?? [], ...readPart(readComponents, value, bomName)] }
}

function readTree (value: unknown, path: string): readonly BomComponent[] {
  return [readComponent(value, path), ...readComponents(value, path)]
}

const readComponents: Reader<readonly BomComponent[]> = (value, path) => {
  const { components = [] } = readWithin(value, path)
  return components.flatMap((within) => readTree(within.value, within.path))
}
