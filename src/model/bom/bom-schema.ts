import type * as CycloneDx from '@cyclonedx/cyclonedx-library'
import { guardError } from '../../errors.ts'
import { bomName, type Bom } from './bom.ts'

/** Imports what validates. */
export type LoadValidation = () => Promise<typeof CycloneDx>

const loadLibrary: LoadValidation = async () => await import('@cyclonedx/cyclonedx-library')

/**
 * What breaks the schema of CycloneDX that a bill of materials names, and where; `undefined` when nothing does.
 * @throws FMG_ERR_OPTION_INVALID when what validates it is not installed.
 */
export async function schemaProblem (bytes: Uint8Array, { specVersion }: Pick<Bom, 'specVersion'>, load = loadLibrary): Promise<string | undefined> {
  const { Spec, Validation } = await load().catch(notInstalled)
  const version = Object.values(Spec.Version).find((known: string) => known === specVersion)
  if (version === undefined) return `${bomName} is of no version of CycloneDX that is known`
  // The library loads its own optional parts here.
  const problems: unknown = await new Validation.JsonStrictValidator(version).validate(Buffer.from(bytes).toString()).catch(notInstalled)
  if (problems === null) return undefined
  // Of Ajv: the first thing that is wrong.
  const first: unknown = Reflect.get(Object(problems), 0)
  return `${bomName}${String(Reflect.get(Object(first), 'instancePath'))} ${String(Reflect.get(Object(first), 'message'))}`
}

function notInstalled (cause: unknown): never {
  throw guardError('FMG_ERR_OPTION_INVALID', { detail: `a ${bomName} is validated by packages of CycloneDX: npm install @cyclonedx/cyclonedx-library ajv ajv-formats ajv-formats-draft2019 packageurl-js spdx-expression-parse`, cause })
}
