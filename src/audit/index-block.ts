import { open, type FileHandle } from 'node:fs/promises'
import { endianness } from 'node:os'
import { anyThat, integer, listOf, object, oneOf, recordOf, string, withDefault, type Read } from '../options.ts'
import type { AuditRecord } from './record.ts'

/** Members of a record that a log is searched by. */
export const searchedMembers = ['action', 'credential_id', 'model_id', 'org', 'reason', 'status', 'user_id'] as const
export type SearchedMember = typeof searchedMembers[number]

/** Members that hold a keyed digest: of each, its first four bytes are kept. */
export const digestMembers = ['input_hash', 'output_hash'] as const
export type DigestMember = typeof digestMembers[number]

/**
 * The searchable columns of a run of records, as they stand in one file: `fmgindex`, the length of a head in JSON (4 bytes, little-endian),
 * the head, zeros up to a multiple of 8, and the columns that the head names.
 */
export interface IndexBlock {
  /** Digest of the tile that these records stand under: a block of another log, or of another history, has another one. */
  readonly tile: string
  readonly records: number
  /** Earliest and latest time of a record, milliseconds since the epoch. */
  readonly earliest: number
  readonly latest: number
  /** The different texts of a member; that of code 0 is `null`, the member's absence. */
  texts (member: SearchedMember): readonly (string | null)[]
  /** Of each record the code of its text. */
  codes (member: SearchedMember): Promise<Uint8Array | Uint16Array | Uint32Array>
  /** Of each record its time, milliseconds since the epoch. */
  times (): Promise<Float64Array>
  /** Of each record the first four bytes of its digest; 0 where it has none. */
  digests (member: DigestMember): Promise<Uint32Array>
  close (): Promise<void>
}

/** What the index keeps of a record. */
export type IndexedRecord = Pick<AuditRecord, 'timestamp' | SearchedMember | DigestMember>

const magic = 'fmgindex'
const headAt = magic.length + 4
const alignment = 8

const codeTypes = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array } as const

const readTime = integer({ min: -8.64e15 })
const readText = anyThat((value): value is string | null => typeof value === 'string' || value === null, 'a text or null')
const readHead = object({
  tile: string(),
  /** Columns are written as the machine holds them: to another kind of machine they are no block. */
  order: oneOf(endianness()),
  records: integer({ min: 0 }),
  earliest: readTime,
  latest: readTime,
  /** Bytes of all columns. */
  length: integer({ min: 0 }),
  /** Where a member's column begins, and how wide an item is; of a text, what its codes stand for. */
  columns: recordOf(object({ at: integer({ min: 0 }), bytes: integer({ min: 1, max: 8 }), texts: withDefault(listOf(readText), []) }))
})
type Head = Read<typeof readHead>

/** The file of these records, which stand under this tile. */
export function writeIndexBlock (records: readonly IndexedRecord[], tile: string): Buffer {
  // What is no time is before all times.
  const times = Float64Array.from(records, ({ timestamp }) => Date.parse(timestamp) || 0)
  const columns: Record<string, Head['columns'][string]> = {}
  const parts: Uint8Array[] = []
  let at = 0
  function add (name: string, { buffer, byteLength, BYTES_PER_ELEMENT: bytes }: Column, texts: (string | null)[] = []): void {
    const padding = -byteLength & (alignment - 1)
    columns[name] = { at, bytes, texts }
    parts.push(new Uint8Array(buffer), new Uint8Array(padding))
    at += byteLength + padding
  }
  add('timestamp', times)
  for (const member of searchedMembers) {
    const { texts, codes } = encode(records.map((record) => record[member]))
    add(member, codeTypes[texts.length <= 0x100 ? 1 : texts.length <= 0x10000 ? 2 : 4].from(codes), texts)
  }
  for (const member of digestMembers) add(member, Uint32Array.from(records, (record) => digestStart(record[member])))
  const [earliest, latest] = boundsOf(times)
  return Buffer.concat([headBytes({ tile, order: endianness(), records: records.length, earliest, latest, length: at, columns }), ...parts])
}

type Column = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>

function encode (values: readonly (string | undefined)[]): { texts: (string | null)[], codes: number[] } {
  const codeOf = new Map<string | undefined, number>([[undefined, 0]])
  const codes = values.map((value) => {
    const code = codeOf.get(value) ?? codeOf.size
    if (code === codeOf.size) codeOf.set(value, code)
    return code
  })
  return { texts: Array.from(codeOf.keys(), (text) => text ?? null), codes }
}

/** The first four bytes of a digest, which ends in its 64 hexadecimal digits; 0 where there is none. */
export function digestStart (digest: string | undefined): number {
  return digest === undefined ? 0 : parseInt(digest.slice(-64, -56), 16)
}

function boundsOf (times: Float64Array): [earliest: number, latest: number] {
  return [times.reduce((least, time) => Math.min(least, time), Infinity), times.reduce((most, time) => Math.max(most, time), -Infinity)]
}

function headBytes (head: Head): Buffer {
  const json = Buffer.from(JSON.stringify(head))
  const bytes = Buffer.alloc(columnsAt(json.length))
  bytes.write(magic)
  bytes.writeUInt32LE(json.length, magic.length)
  json.copy(bytes, headAt)
  return bytes
}

function columnsAt (headLength: number): number {
  return Math.ceil((headAt + headLength) / alignment) * alignment
}

/** A block, or `undefined` when the file is not there, or is no such block: then it is made anew, for nothing stands there that the log does not say. */
export async function openIndexBlock (file: string): Promise<IndexBlock | undefined> {
  return await readIndexBlock(file).catch(() => undefined)
}

/** Opens a block and reads its head; columns are read when they are asked for. Throws when it is none. */
export async function readIndexBlock (file: string): Promise<IndexBlock> {
  const handle = await open(file)
  try {
    const start = await readAt(handle, 0, headAt)
    if (start.toString('latin1', 0, magic.length) !== magic) throw new Error('another file')
    const length = start.readUInt32LE(magic.length)
    const head = readHead(JSON.parse((await readAt(handle, headAt, length)).toString()), file)
    for (const name of ['timestamp', ...searchedMembers, ...digestMembers]) columnOf(head, name)
    if ((await handle.stat()).size !== columnsAt(length) + head.length) throw new Error('cut short')
    return blockOf(handle, head, columnsAt(length))
  } catch (error) {
    await handle.close()
    throw error
  }
}

function columnOf ({ columns }: Head, name: string): Head['columns'][string] {
  const column = columns[name]
  if (column === undefined) throw new Error('a column is missing')
  return column
}

function blockOf (handle: FileHandle, head: Head, offset: number): IndexBlock {
  const { tile, records, earliest, latest } = head

  async function bytesOf (name: string): Promise<ArrayBuffer> {
    const { at, bytes } = columnOf(head, name)
    return (await readAt(handle, offset + at, records * bytes)).buffer
  }

  return {
    tile,
    records,
    earliest,
    latest,
    texts: (member) => columnOf(head, member).texts,
    codes: async (member) => {
      const width = columnOf(head, member).bytes
      return new codeTypes[width === 1 || width === 2 ? width : 4](await bytesOf(member))
    },
    times: async () => new Float64Array(await bytesOf('timestamp')),
    digests: async (member) => new Uint32Array(await bytesOf(member)),
    close: async () => { await handle.close() }
  }
}

async function readAt (handle: FileHandle, at: number, length: number): Promise<Buffer<ArrayBuffer>> {
  const bytes = Buffer.from(new ArrayBuffer(length))
  const { bytesRead } = await handle.read(bytes, 0, length, at)
  if (bytesRead < length) throw new Error('cut short')
  return bytes
}
