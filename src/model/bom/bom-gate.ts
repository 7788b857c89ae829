import { guardError } from '../../errors.ts'
import { boolean, listOf, object, oneOf, optional, string, withDefault, type Reader } from '../../options.ts'
import { manifestName } from '../manifest.ts'
import type { Statement } from '../statement.ts'
import { judgeAdvisory, readAdvisories, type Advisory } from './advisory.ts'
import { bomName, readBom, type Bom, type BomComponent } from './bom.ts'
import { schemaProblem } from './bom-schema.ts'
import { packageReader, type PackageName, type PackageReader } from './package-name.ts'
import { isHarmless, readVex, type VexStatement } from './vex.ts'

export interface BomGateOptions {
  /** What becomes of a model of which something is found: it is refused (the default), or it is loaded and the findings are told. */
  readonly gate?: 'refuse' | 'warn' | undefined
  /** Whether every model must have a bill of materials. Default true. */
  readonly required?: boolean | undefined
  /** A folder of advisories in the OSV schema, a JSON file each. Read anew for every model: it may be updated while the server runs. Left out: none are looked for. */
  readonly vulnerabilities?: string | undefined
  /** Files of VEX statements (OpenVEX, CycloneDX) by which what is found does no harm. What a model's own bill says of that does not count. */
  readonly vex?: readonly string[] | undefined
}

/** Something about a bill of materials that whoever runs the model should know. */
export interface BomFinding {
  readonly kind: 'missing' | 'schema' | 'file-differs' | 'file-unsigned' | 'file-unlisted' | 'file-unchecked' | 'component-unchecked' | 'vulnerability'
  /** For people. */
  readonly detail: string
  /** Of a vulnerability: the advisory's id. */
  readonly advisory?: string
}

/** Looks at the bill of materials of a model before the model is loaded. */
export interface BomGate {
  /**
   * @param bom what `bom.cdx.json` holds; `undefined` where the model has none.
   * @returns what was found, where that is no reason to refuse it.
   * @throws FMG_ERR_MODEL_REFUSED with reason `bom`, naming everything that was found.
   * @throws FMG_ERR_BUNDLE_INVALID when it cannot be read as one.
   * @throws FMG_ERR_FILE when the advisories or statements cannot be read.
   * @throws FMG_ERR_OPTION_INVALID when what it is validated by is not installed.
   */
  check (bom: Uint8Array | undefined, statement: Pick<Statement, 'files' | 'hash'>): Promise<readonly BomFinding[]>
}

/** @throws FMG_ERR_OPTION_INVALID */
export const readBomOptions = object({
  gate: withDefault(oneOf('refuse', 'warn'), 'refuse'),
  required: withDefault(boolean, true),
  vulnerabilities: optional(string()),
  vex: withDefault(listOf(string()), [])
})

/** @throws FMG_ERR_OPTION_INVALID */
export function bomGate (options: BomGateOptions = {}): BomGate {
  return readBomGate(options, 'bom')
}

/** A gate from its options. */
export const readBomGate: Reader<BomGate> = (value, path) => {
  const { gate, required, vulnerabilities, vex } = readBomOptions(value, path)
  return {
    async check (bytes, statement) {
      const findings = bytes === undefined ? missing(required) : await look(bytes, statement)
      if (gate === 'refuse' && findings.length > 0) throw guardError('FMG_ERR_MODEL_REFUSED', { reason: 'bom', detail: findings.map(({ detail }) => detail).join('; ') })
      return findings
    }
  }

  async function look (bytes: Uint8Array, statement: Pick<Statement, 'files' | 'hash'>): Promise<readonly BomFinding[]> {
    const bom = readBom(bytes)
    const problem = await schemaProblem(bytes, bom)
    const schema: readonly BomFinding[] = problem === undefined ? [] : [{ kind: 'schema', detail: problem }]
    return [...schema, ...compareFiles(bom, statement), ...vulnerabilities === undefined ? [] : await findVulnerabilities(bom, vulnerabilities, vex)]
  }
}

function missing (isRequired: boolean): readonly BomFinding[] {
  return isRequired ? [{ kind: 'missing', detail: `there is no ${bomName}` }] : []
}

const algorithms = { sha256: 'SHA-256', blake2b: 'BLAKE2b-512' } as const

/** Its own files against those that are signed for. */
function compareFiles ({ components }: Bom, { files, hash }: Pick<Statement, 'files' | 'hash'>): readonly BomFinding[] {
  const listed = new Map(components.filter(({ type }) => type === 'file').map((component) => [component.name, component]))
  const unsigned = [...listed.keys()].filter((name) => !files.some((file) => file.name === name))
  const findings: BomFinding[] = unsigned.map((name) => ({ kind: 'file-unsigned', detail: `${bomName} lists ${JSON.stringify(name)}, which is not signed for` }))
  for (const { name, parts } of files) {
    const component = listed.get(name)
    // It cannot hold its own digest, and the manifest may come after it.
    if (name === bomName || (name === manifestName && component === undefined)) continue
    if (component === undefined) {
      findings.push({ kind: 'file-unlisted', detail: `${bomName} does not list ${JSON.stringify(name)}` })
      continue
    }
    const [part] = parts
    const content = component.hashes?.find(({ alg }) => alg === algorithms[hash])?.content.toLowerCase()
    if (content === undefined || part?.end !== undefined) findings.push({ kind: 'file-unchecked', detail: `${bomName} has no ${algorithms[hash]} of ${JSON.stringify(name)} that its signature has` })
    else if (content !== part?.digest) findings.push({ kind: 'file-differs', detail: `${bomName} has another ${algorithms[hash]} of ${JSON.stringify(name)} than was signed for` })
  }
  return findings
}

// What advisories are written about. Of others, as of files and data, a bill has no package URL.
const software: readonly string[] = ['library', 'framework']

interface Named {
  readonly component: BomComponent
  readonly named: PackageName
}

async function findVulnerabilities ({ components }: Bom, folder: string, vex: readonly string[]): Promise<readonly BomFinding[]> {
  const read = await packageReader()
  const packages = components.flatMap((component) => nameOf(component, read))
  const unchecked = components.filter((component) => software.includes(component.type) && !packages.some((one) => one.component === component))
  const statements = (await Promise.all(vex.map(readVex))).flat()
  const advisories = await readAdvisories(folder, packages.map(({ named }) => named))
  return [
    ...unchecked.map(({ name }): BomFinding => ({ kind: 'component-unchecked', detail: `${bomName} names no package URL of ${JSON.stringify(name)}, by which advisories could be found` })),
    ...packages.flatMap(({ component, named }) => advisories.flatMap((advisory) => judge(advisory, component, named, statements)))
  ]
}

function nameOf (component: BomComponent, read: PackageReader): readonly Named[] {
  const named = component.purl === undefined ? undefined : read(component.purl)
  return named === undefined ? [] : [{ component, named: { ...named, version: named.version ?? component.version } }]
}

function judge (advisory: Advisory, component: BomComponent, named: PackageName, statements: readonly VexStatement[]): readonly BomFinding[] {
  const verdict = judgeAdvisory(advisory, named)
  const products = [component.purl, component['bom-ref'], named.purl].filter((name) => name !== undefined)
  if (verdict === 'unaffected' || isHarmless(statements, [advisory.id, ...advisory.aliases], products)) return []
  const what = advisory.summary === undefined ? advisory.id : `${advisory.id} (${advisory.summary})`
  return [{ kind: 'vulnerability', advisory: advisory.id, detail: `${component.name} is ${verdict === 'affected' ? '' : 'possibly '}affected by ${what}` }]
}
