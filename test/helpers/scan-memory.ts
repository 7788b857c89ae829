import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const blockBytes = 16 * 1024 * 1024

/** How often each of these occurs in the memory of a process that it can write (proc(5), maps and mem). */
export function countInMemory (pid: number, wanted: Readonly<Record<string, Uint8Array>>): Record<string, number> {
  const names = Object.keys(wanted)
  const found = Object.fromEntries(names.map((name) => [name, 0]))
  const longest = Math.max(...Object.values(wanted).map(({ length }) => length))
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const block = Buffer.alloc(blockBytes)
  for (const [start, end] of writableRanges(pid)) {
    // Blocks overlap by one byte less than the longest: nothing is missed, and nothing of that length counted twice.
    for (let at = start; at < end; at += blockBytes - longest + 1) {
      const bytes = readSync(memory, block, 0, Math.min(blockBytes, end - at), at)
      for (const [name, pattern] of Object.entries(wanted)) found[name] = (found[name] ?? 0) + countIn(block.subarray(0, bytes), pattern)
    }
  }
  closeSync(memory)
  return found
}

function countIn (bytes: Buffer, pattern: Uint8Array): number {
  let count = 0
  for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) count++
  return count
}

function writableRanges (pid: number): readonly (readonly [start: number, end: number])[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')
  return lines.flatMap((line) => {
    const [, start = '', end = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    return start === '' || line.endsWith('[vvar]') ? [] : [[parseInt(start, 16), parseInt(end, 16)] as const]
  })
}
