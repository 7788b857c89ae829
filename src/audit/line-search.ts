import { open } from 'node:fs/promises'
import { lineSeq } from './line-check.ts'
import { maxLineBytes } from './line.ts'

/** Wide enough for a whole line after one that is cut. */
const windowBytes = 4 * (maxLineBytes + 1)

/**
 * Where in a segment the line of this seq begins, or would begin after the one before it: read backwards from its end, so that it costs no more than
 * what follows. `undefined` when neither is there. What it finds is as true as the file is: the caller hashes what follows.
 */
export async function findLine (file: string, seq: number): Promise<number | undefined> {
  const handle = await open(file, 'r')
  try {
    const window = Buffer.alloc(windowBytes)
    let end = (await handle.stat()).size
    while (end > 0) {
      const start = Math.max(0, end - windowBytes)
      const { bytesRead } = await handle.read(window, 0, end - start, start)
      const bytes = window.subarray(0, bytesRead)
      const first = start === 0 ? 0 : bytes.indexOf(10) + 1
      const place = placeOf(bytes, first, seq)
      if (place !== undefined) return start + place
      // What holds no beginning of a line is passed over whole.
      end = start + first < end ? start + first : start
      if (start === 0) return undefined
    }
    return undefined
  } finally {
    await handle.close()
  }
}

function placeOf (bytes: Buffer, first: number, seq: number): number | undefined {
  for (let start = first, end = bytes.indexOf(10, start); end !== -1; start = end + 1, end = bytes.indexOf(10, start)) {
    const found = lineSeq(bytes, start, end)
    if (found === seq) return start
    if (found === seq - 1) return end + 1
    // Lines ascend: none of these is the one, and they need not be read twice.
    if (found !== undefined && found > seq) return undefined
  }
  return undefined
}
