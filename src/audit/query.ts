import { blockRecords, countBlocks, firstBlock, openBlock, readBundle, type LogIndexOptions } from './log-index.ts'
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
  const [first, blocks] = [await firstBlock(directory), await countBlocks(directory)]
  let matches = 0
  const found: (readonly LoggedRecord[])[] = []
  for await (const records of readTail(directory, first, blocks, filter)) {
    matches += records.length
    found.push(records)
  }
  const newest = found.flat().slice(-limit || Infinity)
  let wanted = limit - newest.length
  const older: (readonly LoggedRecord[])[] = []
  for (let number = blocks - 1; number >= first; number--) {
    const rows = await rowsOf(options, number, filter)
    // Where the rows are only candidates all are read, so that they can be counted.
    const asked = filter.isExact ? rows.slice(Math.max(0, rows.length - wanted)) : rows
    const records: LoggedRecord[] = []
    for await (const read of readRows(directory, number, asked, filter)) records.push(...read)
    matches += filter.isExact ? rows.length : records.length
    older.push(records.slice(Math.max(0, records.length - wanted)))
    wanted -= Math.min(wanted, records.length)
  }
  const oldest: LoggedRecord[] = []
  for await (const records of readHead(directory, first, blocks, filter)) {
    matches += records.length
    oldest.push(...records)
  }
  older.push(oldest.slice(Math.max(0, oldest.length - wanted)))
  return { matches, records: [...older.reverse().flat(), ...newest] }
}

/** All records that fit, in their order, a batch at a time. Throws as {@link queryLog}. */
export async function * selectRecords (options: LogIndexOptions & RecordFilter): AsyncGenerator<readonly LoggedRecord[]> {
  const { directory } = options
  const filter = compileFilter(options)
  const [first, blocks] = [await firstBlock(directory), await countBlocks(directory)]
  yield * readHead(directory, first, blocks, filter)
  for (let number = first; number < blocks; number++) {
    const rows = await rowsOf(options, number, filter)
    yield * readRows(directory, number, rows, filter)
  }
  yield * readTail(directory, first, blocks, filter)
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
  for (let at = 0; at < rows.length;) {
    const bundle = Math.floor((rows[at] ?? 0) / tileWidth)
    const places: number[] = []
    for (; Math.floor((rows[at] ?? NaN) / tileWidth) === bundle; at++) places.push((rows[at] ?? 0) % tileWidth)
    const records = await readBundle(directory, number * tileWidth + bundle, places)
    yield records.filter((record) => filter.matches(record))
  }
}

/** What is left of a block of which some records are retired. */
async function * readHead (directory: string, first: number, blocks: number, filter: CompiledFilter): AsyncGenerator<readonly LoggedRecord[]> {
  // Without a block it is all in the tail.
  if (first === 0 || first >= blocks) return
  const end = first * blockRecords
  for await (const records of readRecords({ directory })) {
    const fitting = records.filter((record) => record.seq < end && filter.matches(record))
    if (fitting.length > 0) yield fitting
    if ((records.at(-1)?.seq ?? 0) >= end) return
  }
}

/** What the blocks do not hold. */
async function * readTail (directory: string, first: number, blocks: number, filter: CompiledFilter): AsyncGenerator<readonly LoggedRecord[]> {
  for await (const records of readRecords({ directory, from: first < blocks ? blocks * blockRecords : 0 })) {
    const fitting = records.filter((record) => filter.matches(record))
    if (fitting.length > 0) yield fitting
  }
}
