/** Bits of the direction in which an input lies. */
export const directionBits = 64
/** Sums over parts of an input. */
export const sumCount = 8

const bytes = 1 + directionBits / 8 + 2 * sumCount
const text = new RegExp(`^[0-9a-f]{${2 * bytes}}$`)

/**
 * What the log keeps of where an input lies, 25 bytes: how many inputs were asked about at once, the signs of 64 random projections of one of
 * them (Charikar 2002: inputs at an angle of θ differ in θ/π of them), and its elements summed up in 8 parts.
 */
export interface Sketch {
  /** As it stands in the log. */
  readonly text: string
  /** From 1; from 128 on rounded up to the next eighth of a doubling. */
  readonly rows: number
  /** 64 bits. */
  readonly direction: readonly [high: number, low: number]
  /** Rounded to 8 binary digits. */
  readonly sums: readonly number[]
}

/** As hexadecimal digits. */
export function writeSketch ({ rows, direction, sums }: Omit<Sketch, 'text'>): string {
  const written = Buffer.alloc(bytes)
  written.writeUInt8(rowsByte(rows))
  written.writeUInt32BE(direction[0], 1)
  written.writeUInt32BE(direction[1], 5)
  for (const [index, sum] of sums.entries()) written.writeUInt16BE(toBrainFloat(sum), 9 + 2 * index)
  return written.toString('hex')
}

/** Reads what {@link writeSketch} wrote; `undefined` for anything else: it stands in a log that others may have written. */
export function readSketch (written: string): Sketch | undefined {
  if (!text.test(written)) return undefined
  const read = Buffer.from(written, 'hex')
  const sums = Array.from({ length: sumCount }, (_, index) => fromBrainFloat(read.readUInt16BE(9 + 2 * index)))
  return { text: written, rows: rowsOf(read.readUInt8()), direction: [read.readUInt32BE(1), read.readUInt32BE(5)], sums }
}

/** In how many of 64 projections two inputs lie on different sides. */
export function distance (a: Sketch, b: Sketch): number {
  return bitCount(a.direction[0] ^ b.direction[0]) + bitCount(a.direction[1] ^ b.direction[1])
}

/** Bits that are set in 32. */
export function bitCount (bits: number): number {
  let left = bits >>> 0
  let count = 0
  for (; left !== 0; left = (left & (left - 1)) >>> 0) count++
  return count
}

function rowsByte (rows: number): number {
  return rows < 128 ? rows : Math.min(255, 128 + Math.ceil(8 * Math.log2(rows / 128)))
}

function rowsOf (byte: number): number {
  return byte < 128 ? byte : Math.round(128 * 2 ** ((byte - 128) / 8))
}

const scratch = new DataView(new ArrayBuffer(4))

/** The upper half of binary32, rounded to nearest. */
function toBrainFloat (value: number): number {
  scratch.setFloat32(0, value)
  return ((scratch.getUint32(0) + 0x8000) >>> 16) & 0xffff
}

function fromBrainFloat (bits: number): number {
  scratch.setUint32(0, bits << 16)
  const value = scratch.getFloat32(0)
  return Number.isFinite(value) ? value : 0
}
