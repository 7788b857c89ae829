import { readLineBlocks, type LineBlock, type ReadLinesOptions } from './segment-files.ts'

/** When the first record of a segment was written, milliseconds since the epoch; `undefined` where there is none that says so. */
export async function firstTime (file: string, options: ReadLinesOptions = {}): Promise<number | undefined> {
  const blocks = readLineBlocks(file, options)
  try {
    const next: IteratorResult<LineBlock, unknown> = await blocks.next()
    if (next.done === true || next.value.torn) return undefined
    return timeIn(next.value.bytes.toString('utf8', 1, next.value.bytes.indexOf(10, 1)))
  } finally {
    await blocks.return(undefined)
  }
}

function timeIn (line: string): number | undefined {
  try {
    const time = Date.parse(String(Reflect.get(Object(JSON.parse(line)), 'timestamp')))
    return Number.isNaN(time) ? undefined : time
  } catch {
    return undefined
  }
}
