import { compileGlob } from '../glob.ts'
import { digestMembers, digestStart, searchedMembers, type IndexBlock, type SearchedMember } from './index-block.ts'
import type { LoggedRecord } from './read-records.ts'

/** Which records are looked for: those that fit all that is given. */
export interface RecordFilter {
  /** Not before this time; milliseconds since the epoch. */
  readonly since?: number | undefined
  /** Before this time. */
  readonly until?: number | undefined
  /** Of a member any of these texts, in which a `*` stands for any characters. */
  readonly where?: Readonly<Partial<Record<SearchedMember, readonly string[]>>> | undefined
  /** Keyed digests, as `hmac-sha256:<key id>:<hex>`, of which one is that of the record's input or output. */
  readonly digests?: ReadonlySet<string> | undefined
}

/** A filter ready for use. */
export interface CompiledFilter {
  matches (record: LoggedRecord): boolean
  /**
   * Which records of a block may fit, in their order. All of them do, unless digests are asked for: of these the index holds
   * the beginnings.
   */
  rows (block: IndexBlock): Promise<readonly number[]>
  /** Whether every row fits. */
  readonly isExact: boolean
}

export function compileFilter ({ since = -Infinity, until = Infinity, where = {}, digests }: RecordFilter): CompiledFilter {
  const tests = searchedMembers.flatMap((member) => {
    const patterns = where[member]?.map((pattern) => compileGlob(pattern.split('*')))
    return patterns === undefined ? [] : [{ member, test: (text: string | null | undefined) => typeof text === 'string' && patterns.some((fits) => fits(text)) }]
  })
  const starts = digests === undefined ? undefined : new Set(Array.from(digests, digestStart))

  return {
    isExact: digests === undefined,
    matches (record) {
      const time = Date.parse(record.timestamp) || 0
      return time >= since && time < until && tests.every(({ member, test }) => test(record[member])) &&
        (digests === undefined || digestMembers.some((member) => digests.has(String(record[member]))))
    },
    async rows (block) {
      if (block.latest < since || block.earliest >= until) return []
      const fits = new Uint8Array(block.records).fill(1)
      for (const { member, test } of tests) if (!await keepTexts(block, member, test, fits)) return []
      if (block.earliest < since || block.latest >= until) keep(fits, await block.times(), (time) => time >= since && time < until)
      const rows = numbersOf(fits)
      if (starts === undefined) return rows
      const columns = await Promise.all(digestMembers.map(async (member) => await block.digests(member)))
      return rows.filter((row) => columns.some((column) => starts.has(Number(column[row]))))
    }
  }
}

/** @returns whether any record is left. */
async function keepTexts (block: IndexBlock, member: SearchedMember, test: (text: string | null) => boolean, fits: Uint8Array): Promise<boolean> {
  // A text is judged once a block, and a block in which none fits is not read.
  const wanted = Uint8Array.from(block.texts(member), (text) => Number(test(text)))
  if (!wanted.includes(1)) return false
  for (const [row, code] of (await block.codes(member)).entries()) if (wanted[code] !== 1) fits[row] = 0
  return true
}

function keep (fits: Uint8Array, values: Float64Array, test: (value: number) => boolean): void {
  for (const [row, value] of values.entries()) if (!test(value)) fits[row] = 0
}

function numbersOf (fits: Uint8Array): number[] {
  const rows: number[] = []
  for (const [row, fit] of fits.entries()) if (fit === 1) rows.push(row)
  return rows
}
