import { open, type FileHandle } from 'node:fs/promises'
import { guardError } from '../errors.ts'
import { exists, readPrivateFile, writeFileAtomic } from '../files.ts'

/** What the map of persons to pseudonyms keeps, a line each. Ids and keys stand here and nowhere else. */
export type IdentityLine =
  | { readonly principal: string, readonly pseudonym: string }
  | { readonly pseudonym: string, readonly epoch: string, readonly key_id: string, readonly key: string }
  | { readonly pseudonym: string, readonly credential: string, readonly credential_pseudonym: string }

/** An append-only file of JSON lines of mode 0600. */
export interface IdentityFile {
  /** Adds lines, durable when it resolves. After a failure the file takes no more: it is to be replaced. */
  append (lines: readonly IdentityLine[]): Promise<void>
  /** Puts these lines in place of all others, at once or not at all. */
  replace (lines: Iterable<IdentityLine>): Promise<void>
  close (): Promise<void>
}

/** A file and what stood in it. */
export interface OpenedIdentityFile {
  readonly lines: readonly IdentityLine[]
  readonly identityFile: IdentityFile
}

/**
 * Reads the lines of a file, none where there is no file, and cuts a torn last one: it was never durable.
 * @throws FMG_ERR_FILE when others may read the file, or when a line in it is not one of ours.
 */
export async function openIdentityFile (file: string): Promise<OpenedIdentityFile> {
  // Written at once, so that its name is durable before the first line is.
  if (!await exists(file)) await writeFileAtomic(file, '')
  const { lines, end, size } = await readLines(file)
  let handle: FileHandle | undefined = await open(file, 'a')
  if (end < size) await handle.truncate(end)
  return { lines, identityFile: { append, replace, close } }

  async function append (added: readonly IdentityLine[]): Promise<void> {
    handle ??= await open(file, 'a')
    await handle.appendFile(toText(added))
    await handle.datasync()
  }

  async function replace (all: Iterable<IdentityLine>): Promise<void> {
    // Before anything is waited for: what is drawn meanwhile is appended later, and must not stand in both.
    const text = toText(all)
    await close()
    await writeFileAtomic(file, text)
  }

  async function close (): Promise<void> {
    const closing = handle
    handle = undefined
    await closing?.close()
  }
}

/**
 * Who stands behind each pseudonym. Changes nothing: the file may be in use.
 * @throws FMG_ERR_FILE when there is no such file, others may read it, or a line in it is not one of ours.
 */
export async function readPseudonyms (file: string): Promise<ReadonlyMap<string, string>> {
  const { lines } = await readLines(file)
  return new Map(lines.flatMap((line) => 'principal' in line ? [[line.pseudonym, line.principal]] : []))
}

/** A key under which something of a principal was digested. */
export interface DigestKey {
  readonly principal: string
  /** Calendar month (UTC) in which it was used: `2026-11`. */
  readonly epoch: string
  readonly keyId: string
  readonly key: Uint8Array
}

/** Every key that the map holds. Changes nothing, and throws as {@link readPseudonyms}. */
export async function readDigestKeys (file: string): Promise<DigestKey[]> {
  const { lines } = await readLines(file)
  const principals = new Map(lines.flatMap((line) => 'principal' in line ? [[line.pseudonym, line.principal]] : []))
  return lines.flatMap((line) => {
    const principal = principals.get(line.pseudonym)
    if (!('key' in line) || principal === undefined) return []
    return [{ principal, epoch: line.epoch, keyId: line.key_id, key: Buffer.from(line.key, 'base64url') }]
  })
}

async function readLines (file: string): Promise<{ lines: IdentityLine[], end: number, size: number }> {
  const bytes = await readPrivateFile(file)
  const end = bytes.lastIndexOf(10) + 1
  const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1).map((text) => parseLine(text, file))
  return { lines, end, size: bytes.length }
}

function toText (lines: Iterable<IdentityLine>): string {
  return Array.from(lines, (line) => JSON.stringify(line) + '\n').join('')
}

function parseLine (text: string, file: string): IdentityLine {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${file} holds a line that is not JSON`, cause })
  }
  if (!isIdentityLine(value)) throw guardError('FMG_ERR_FILE', { detail: `${file} holds a line that is not of an identity` })
  return value
}

const shapes = [
  ['principal', 'pseudonym'],
  ['pseudonym', 'epoch', 'key_id', 'key'],
  ['pseudonym', 'credential', 'credential_pseudonym']
]

function isIdentityLine (value: unknown): value is IdentityLine {
  if (typeof value !== 'object' || value === null) return false
  const members = new Map<string, unknown>(Object.entries(value))
  return shapes.some((names) => names.length === members.size && names.every((name) => typeof members.get(name) === 'string'))
}
