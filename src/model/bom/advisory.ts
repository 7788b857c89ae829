import type { Dirent } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { guardError } from '../../errors.ts'
import { listOf, optional, string, withDefault, type Read } from '../../options.ts'
import { openObject } from '../read-part.ts'
import { compareVersions } from '../version-order.ts'
import type { PackageName } from './package-name.ts'

const readEvent = openObject({ introduced: optional(string()), fixed: optional(string()), last_affected: optional(string()), limit: optional(string()) })
const readAdvisory = openObject({
  id: string(),
  withdrawn: optional(string()),
  summary: optional(string()),
  aliases: withDefault(listOf(string()), []),
  affected: withDefault(listOf(openObject({
    package: optional(openObject({ ecosystem: string(), name: string(), purl: optional(string()) })),
    ranges: withDefault(listOf(openObject({ type: string(), events: listOf(readEvent) })), []),
    versions: withDefault(listOf(string()), [])
  })), [])
})

/** An entry of a database of vulnerabilities (OSV schema), as far as it is looked at. */
export type Advisory = Read<typeof readAdvisory>

type Affected = Advisory['affected'][number]

/** Whether a package is said to be affected; `possibly` where its version cannot be placed in a range. */
export type Verdict = 'affected' | 'possibly' | 'unaffected'

/**
 * Every advisory of a folder, and of those below it, that may be about one of these packages and was not withdrawn.
 * @param folder of files `*.json`, an advisory each, as OSV's own exports are.
 * @throws FMG_ERR_FILE naming the file that is no advisory, or a folder that holds none.
 */
export async function readAdvisories (folder: string, packages: readonly PackageName[]): Promise<readonly Advisory[]> {
  const names = packages.map(({ name }) => plainName(name))
  const found: Advisory[] = []
  let files = 0
  for (const entry of await entriesOf(folder)) {
    if (!entry.isFile() || !entry.name.endsWith('.json')) continue
    files++
    const file = path.join(entry.parentPath, entry.name)
    const text = await readFile(file, 'utf8')
    const words = plainName(text)
    // Most of a database is about something else: not worth parsing.
    if (!names.some((name) => words.includes(name))) continue
    const advisory = parse(file, text)
    if (advisory.withdrawn === undefined) found.push(advisory)
  }
  // An empty folder would say of everything that it is well.
  if (files === 0) throw guardError('FMG_ERR_FILE', { detail: `${folder} holds no advisories` })
  return found
}

async function entriesOf (folder: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(folder, { recursive: true, withFileTypes: true })
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `cannot read ${folder}`, cause })
  }
}

function parse (file: string, text: string): Advisory {
  try {
    return readAdvisory(JSON.parse(text), 'advisory')
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} is no advisory as OSV writes them`, cause })
  }
}

/** Whether this version of a package is affected, as the OSV schema says that it is evaluated. */
export function judgeAdvisory ({ affected }: Advisory, component: PackageName): Verdict {
  const verdicts = affected.filter((entry) => isAbout(entry, component)).map((entry) => judgeEntry(entry, component.version))
  return verdicts.find((verdict) => verdict === 'affected') ?? verdicts.find((verdict) => verdict === 'possibly') ?? 'unaffected'
}

function isAbout ({ package: named }: Affected, { purl, ecosystem, name }: PackageName): boolean {
  if (named === undefined) return false
  // What follows a colon is a release of a distribution.
  return named.purl === purl || (named.ecosystem.split(':')[0] === ecosystem && plainName(named.name) === plainName(name))
}

// PyPI takes these for one another; where others do not, one too many is found rather than one too few.
function plainName (name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]+/g, '-')
}

function judgeEntry ({ versions, ranges }: Affected, version: string | undefined): Verdict {
  if (version === undefined) return 'possibly'
  if (versions.includes(version)) return 'affected'
  // Ranges of commits say nothing of a version.
  const verdicts = ranges.filter(({ type }) => type !== 'GIT').map(({ events }) => judgeRange(events, version))
  return verdicts.find((verdict) => verdict === 'affected') ?? (versions.length === 0 ? verdicts.find((verdict) => verdict === 'possibly') : undefined) ?? 'unaffected'
}

type Range = Affected['ranges'][number]

function judgeRange (events: Range['events'], version: string): Verdict {
  const placed = events.map((event) => ({ ...event, at: event.introduced ?? event.fixed ?? event.last_affected ?? event.limit ?? '' }))
  const order = (a: string, b: string): number => compareVersions({ version: a }, { version: b }) ?? NaN
  // One number that is none, as a commit or a word, and nothing can be said of the others.
  if (placed.some(({ at }) => Number.isNaN(order(at, version)))) return 'possibly'
  const limits = placed.filter(({ limit }) => limit !== undefined)
  if (limits.length > 0 && limits.every(({ at }) => order(version, at) >= 0)) return 'unaffected'
  let isAffected = false
  for (const { introduced, fixed, last_affected: last, at } of placed.sort((a, b) => order(a.at, b.at))) {
    if (introduced !== undefined && order(version, at) >= 0) isAffected = true
    if (fixed !== undefined && order(version, at) >= 0) isAffected = false
    if (last !== undefined && order(version, at) > 0) isAffected = false
  }
  return isAffected ? 'affected' : 'unaffected'
}
