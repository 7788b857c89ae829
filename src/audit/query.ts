import { blockRecords, openBlock, partsOf, readBundle, type LogIndexOptions } from './log-index.ts'
import { readRecords, type LoggedRecord } from './read-records.ts'
import { compileFilter, type CompiledFilter, type RecordFilter } from './record-filter.ts'
import { tileWidth } from './tiles.ts'

export interface QueryOptions extends LogIndexOptions, RecordFilter {
  /** How many records are given at most: the newest. Default 100. */
  readonly limit?: number | undefined
}

/** What a query found. */
export interface QueryResult {
  /** How many records fit. */
  readonly matches: number
  /** The newest of them, in their order. */
  readonly records: readonly LoggedRecord[]
}

/**
 * Looks for records by the log's index, which is made where it is missing; what the index does not hold yet is read.
 * Reads the log as it stands: what is to be relied on is verified by `verifyLog` first.
 * @throws FMG_ERR_FILE when there is no log in the folder, or the index cannot be written.
 * @throws FMG_ERR_LOG_INCONSISTENT for what is no part of a log.
 */
export async function queryLog (options: QueryOptions): Promise<QueryResult> {
  const { directory, limit = 100 } = options
  const filter = compileFilter(options)
  const { begin, first, end } = await partsOf(directory)
  const found: (readonly LoggedRecord[])[] = []
  let matches = 0
  let wanted = limit
  // From the newest to the oldest: what is not shown is only counted.
  function take (records: readonly LoggedRecord[], fitting = records.length): void {
    matches += fitting
    found.push(records.slice(Math.max(0, records.length - wanted)))
    wanted -= Math.min(wanted, records.length)
  }
  take(await collect(readPlain(directory, end * blockRecords, Infinity, filter)))
  for (let number = end - 1; number >= first; number--) {
    const rows = await rowsOf(options, number, filter)
    // Where the rows are only candidates all are read, so that they can be counted.
    const asked = filter.isExact ? rows.slice(Math.max(0, rows.length - wanted)) : rows
    take(await collect(readRows(directory, number, asked, filter)), filter.isExact ? rows.length : undefined)
  }
  take(await collect(readPlain(directory, begin, first * blockRecords, filter)))
  return { matches, records: found.reverse().flat() }
}

/** All records that fit, in their order, a batch at a time. Throws as {@link queryLog}. */
export async function * selectRecords (options: LogIndexOptions & RecordFilter): AsyncGenerator<readonly LoggedRecord[]> {
  const { directory } = options
  const filter = compileFilter(options)
  const { begin, first, end } = await partsOf(directory)
  yield * readPlain(directory, begin, first * blockRecords, filter)
  for (let number = first; number < end; number++) yield * readRows(directory, number, await rowsOf(options, number, filter), filter)
  yield * readPlain(directory, end * blockRecords, Infinity, filter)
}

async function collect (batches: AsyncIterable<readonly LoggedRecord[]>): Promise<LoggedRecord[]> {
  const all: LoggedRecord[] = []
  for await (const records of batches) all.push(...records)
  return all
}

async function rowsOf (options: LogIndexOptions, number: number, filter: CompiledFilter): Promise<readonly number[]> {
  const block = await openBlock(options, number)
  try {
    return await filter.rows(block)
  } finally {
    await block.close()
  }
}

/** The records in these rows of a block, a bundle at a time. */
async function * readRows (directory: string, number: number, rows: readonly number[], filter: CompiledFilter): AsyncGenerator<readonly LoggedRecord[]> {
  const bundles = new Map<number, Set<number>>()
  for (const row of rows) {
    const bundle = number * tileWidth + Math.floor(row / tileWidth)
    const places = bundles.get(bundle)
    if (places === undefined) bundles.set(bundle, new Set([row % tileWidth]))
    else places.add(row % tileWidth)
  }
  for (const [bundle, places] of bundles) yield (await readBundle(directory, bundle, places)).filter((record) => filter.matches(record))
}

/** Reads what no block holds: from this seq on, and before that one. */
async function * readPlain (directory: string, from: number, before: number, filter: CompiledFilter): AsyncGenerator<readonly LoggedRecord[]> {
  if (from >= before) return
  for await (const records of readRecords({ directory, from })) {
    yield records.filter((record) => record.seq < before && filter.matches(record))
    if (records.some(({ seq }) => seq >= before)) return
  }
}
