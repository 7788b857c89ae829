import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { exists, makePrivateFolder, readPrivateFile, writeFileAtomic } from './files.ts'
import { anyThat, type Reader } from './options.ts'
import type { SecretSource } from './secrets/secret-source.ts'

/**
 * Reads the pepper of a key store: 32 random bytes in base64.
 * @param from a file of mode 0600, or where else it is.
 * @throws FMG_ERR_FILE, FMG_ERR_KEY_UNAVAILABLE when it cannot be had.
 */
export async function readPepper (from: string | SecretSource): Promise<Buffer> {
  const text = typeof from === 'string' ? await readPrivateFile(from) : Buffer.from(await from.read())
  return Buffer.from(text.toString('latin1'), 'base64')
}

/** Makes the pepper if there is none yet. */
export async function ensurePepper (file: string): Promise<void> {
  if (await exists(file)) return
  await makePrivateFolder(path.dirname(file))
  await writeFileAtomic(file, `${randomBytes(32).toString('base64')}\n`)
}

/** The pepper as an option. */
export const readPepperBytes: Reader<Uint8Array> =
  anyThat((value): value is Uint8Array => value instanceof Uint8Array && value.byteLength >= 32, 'at least 32 bytes')
