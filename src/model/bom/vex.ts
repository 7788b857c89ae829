import { readNamedFile } from '../../files.ts'
import { guardError } from '../../errors.ts'
import { listOf, optional, optionInvalid, string, withDefault, type Reader } from '../../options.ts'
import { isJsonObject } from '../../strict-json.ts'
import { openObject } from '../read-part.ts'

/** That a vulnerability does not matter in a product, or that it does, by the word of whoever wrote it. */
export interface VexStatement {
  /** Names of the vulnerability: any of them. */
  readonly vulnerabilities: readonly string[]
  /** What it is said of: package URLs, or references into a bill of materials. */
  readonly products: readonly string[]
  readonly isHarmless: boolean
  /** Milliseconds since the epoch: of two that contradict each other the later counts. */
  readonly time: number
}

/** @throws for what is no time: nothing could be the last word after it. */
const time: Reader<number> = (value, place) => {
  const milliseconds = Date.parse(string()(value, place))
  if (Number.isNaN(milliseconds)) throw optionInvalid(place, 'a time', value)
  return milliseconds
}

const openVexProduct = openObject({ '@id': optional(string()), identifiers: optional(openObject({ purl: optional(string()) })), subcomponents: optional(listOf(openObject({ '@id': optional(string()) }))) })
const readOpenVex = openObject({
  '@context': string(/^https:\/\/openvex\.dev\/ns/, 'that of OpenVEX'),
  timestamp: time,
  statements: listOf(openObject({
    vulnerability: openObject({ name: string(), '@id': optional(string()), aliases: withDefault(listOf(string()), []) }),
    products: withDefault(listOf(openVexProduct), []),
    status: string(/^(?:not_affected|affected|fixed|under_investigation)$/, 'a status of OpenVEX'),
    timestamp: optional(time),
    last_updated: optional(time)
  }))
})

const readCycloneDx = openObject({
  bomFormat: string(/^CycloneDX$/, 'CycloneDX'),
  metadata: optional(openObject({ timestamp: optional(time) })),
  vulnerabilities: listOf(openObject({
    id: string(),
    references: withDefault(listOf(openObject({ id: string() })), []),
    analysis: optional(openObject({ state: optional(string()) })),
    affects: withDefault(listOf(openObject({ ref: string() })), [])
  }))
})

const harmless = ['not_affected', 'fixed', 'resolved', 'resolved_with_pedigree', 'false_positive']

/**
 * Reads a file of statements, in OpenVEX 0.2 or CycloneDX.
 * @throws FMG_ERR_FILE when it cannot be read, or is neither.
 */
export async function readVex (file: string): Promise<readonly VexStatement[]> {
  const text = (await readNamedFile(file)).toString()
  try {
    const value: unknown = JSON.parse(text)
    return isJsonObject(value) && '@context' in value ? fromOpenVex(value) : fromCycloneDx(value)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} holds no statements of OpenVEX or CycloneDX`, cause })
  }
}

function fromOpenVex (value: unknown): readonly VexStatement[] {
  const { timestamp, statements } = readOpenVex(value, 'vex')
  return statements.map(({ vulnerability: { name, '@id': id, aliases }, products, status, timestamp: own, last_updated: updated }) => ({
    vulnerabilities: [name, ...id === undefined ? [] : [id], ...aliases],
    products: products.flatMap(({ '@id': product, identifiers, subcomponents = [] }) => {
      // Said of a part of a product: of that part alone.
      const named = subcomponents.length > 0 ? subcomponents.map((part) => part['@id']) : [product, identifiers?.purl]
      return named.filter((part) => part !== undefined)
    }),
    isHarmless: harmless.includes(status),
    time: updated ?? own ?? timestamp
  }))
}

function fromCycloneDx (value: unknown): readonly VexStatement[] {
  const { metadata, vulnerabilities } = readCycloneDx(value, 'vex')
  return vulnerabilities.map(({ id, references, analysis, affects }) => ({
    vulnerabilities: [id, ...references.map((reference) => reference.id)],
    // A BOM-Link names the document before the component.
    products: affects.map(({ ref }) => ref.startsWith('urn:cdx:') ? decodeURIComponent(ref.slice(ref.indexOf('#') + 1)) : ref),
    isHarmless: harmless.includes(analysis?.state ?? ''),
    time: metadata?.timestamp ?? 0
  }))
}

/** Whether the last word on any of these vulnerabilities, in any of these products, is that it does no harm. */
export function isHarmless (statements: readonly VexStatement[], vulnerabilities: readonly string[], products: readonly string[]): boolean {
  const about = statements.filter((statement) => statement.vulnerabilities.some((name) => vulnerabilities.includes(name)) && statement.products.some((name) => products.includes(name)))
  const last = about.reduce<VexStatement | undefined>((latest, statement) => latest === undefined || statement.time >= latest.time ? statement : latest, undefined)
  return last?.isHarmless === true
}
