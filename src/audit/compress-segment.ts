import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { guardError } from '../errors.ts'
import { syncFolder } from '../files.ts'
import { compressedName } from './segment-source.ts'

/**
 * Puts a compressed segment (RFC 1952, for `zcat`) in the place of one that is no longer written. What it inflates to is compared before the original
 * goes: a crash at any moment leaves one good copy under one of the two names, or both.
 * @throws FMG_ERR_FILE when it does not inflate to what it was made of; the original stays, as for every other failure.
 */
export async function compressSegment (file: string, signal: AbortSignal): Promise<void> {
  const temporary = `${compressedName(file)}${unfinished}`
  try {
    const digest = await compress(file, temporary, signal)
    if (await inflatedDigest(temporary, signal) !== digest) throw guardError('FMG_ERR_FILE', { detail: `${temporary} does not inflate to ${file}` })
    await rename(temporary, compressedName(file))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncFolder(path.dirname(file))
  await rm(file)
  await syncFolder(path.dirname(file))
}

/** Deletes what a process that was killed had begun to compress. */
export async function removeUnfinished (folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (name.endsWith(`${compressedName('')}${unfinished}`)) await rm(path.join(folder, name))
}

const unfinished = '.tmp'

type Chunks = AsyncIterable<Buffer>

async function compress (file: string, to: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  async function * hashed (chunks: Chunks): Chunks {
    for await (const chunk of chunks) {
      hash.update(chunk)
      yield chunk
    }
  }
  const target = await open(to, 'w', 0o600)
  try {
    await pipeline(createReadStream(file), hashed, createGzip(), async (chunks: Chunks) => {
      for await (const chunk of chunks) await target.writeFile(chunk)
    }, { signal })
    await target.sync()
  } finally {
    await target.close()
  }
  return hash.digest('hex')
}

async function inflatedDigest (file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), createGunzip(), async (chunks: Chunks) => {
    for await (const chunk of chunks) hash.update(chunk)
  }, { signal })
  return hash.digest('hex')
}
