import { constants, type Stats } from 'node:fs'
import { lstat, open, realpath, statfs } from 'node:fs/promises'
import path from 'node:path'
import { followFile } from '../followed-file.ts'
import { optionInvalid } from '../options.ts'
import { storeFailure } from './ask-store.ts'
import type { SecretSource } from './secret-source.ts'

/** Secrets that somebody else puts into a folder for this process: Docker, Kubernetes, systemd. */
export interface SecretFolder {
  /**
   * The secret in the file of this name. Each `read` asks the disk.
   * @throws FMG_ERR_OPTION_INVALID for a name that could lead elsewhere: with a slash, of control characters, or with two dots in front.
   */
  secret (name: string): SecretSource
  /**
   * Tells of a secret now, and again whenever its bytes are others.
   * @throws FMG_ERR_KEY_UNAVAILABLE when it cannot be read now.
   */
  follow (name: string, options: FollowSecretOptions): Promise<FollowedSecret>
}

export interface FollowSecretOptions {
  /** Is told the secret, the first time before `follow` is over. What it throws then, `follow` throws; later `onError` is told. */
  readonly onChange: (secret: Uint8Array) => void | Promise<void>
  /** Is told that it cannot be read any more: the last one that was told of stays. */
  readonly onError: (error: unknown) => void
  /** Milliseconds between two looks, for what the system does not tell of. Default: 10,000. */
  readonly heartbeatMs?: number
}

/** A secret that is followed until `close`. */
export interface FollowedSecret {
  close (): Promise<void>
}

/** A secret of Kubernetes, with all its names, is not larger. */
const maxBytes = 1024 * 1024

// statfs(2): file systems that are in memory alone, tmpfs and ramfs.
const inMemory: ReadonlySet<number> = new Set([0x01021994, 0x858458f6])

/**
 * The secrets of a folder, one a file, byte for byte: a line feed at the end is part of it. Links are followed as far as they stay in the folder, as
 * those of Kubernetes do, which swaps all its secrets at once by its link `..data`.
 *
 * Such folders come with files of root that all may read (0444, 0644), and who gets to see them is decided by what is mounted where. So a file is taken
 * - that belongs to root or to the user of this process, and that nobody else may write;
 * - that nobody else may read either, or that is in memory alone (tmpfs, ramfs), where such mounts are and forgotten files are not.
 * What a container runtime binds from a disk of the host must be of mode 0400 or 0600. That others may enter the folder, or write into it, is not
 * looked at: a file they could put there is theirs, and refused.
 * @throws FMG_ERR_KEY_UNAVAILABLE (from `read`) when there is no such file, it is empty, larger than 1 MiB, or not safe in this sense; the cause says which.
 */
export function secretFolder (folder: string): SecretFolder {
  const fileOf = (name: string): string => {
    if (!/^(?!\.\.|\.$)[^/\p{Cc}]+$/u.test(name)) throw optionInvalid('name of a secret', 'the name of a file', name)
    return path.join(folder, name)
  }
  return {
    secret (name) {
      const file = fileOf(name)
      return { read: async () => await readSecret(folder, file) }
    },
    async follow (name, { onChange, onError, heartbeatMs = 10_000 }) {
      const file = fileOf(name)
      let known: Buffer = Buffer.alloc(0)
      const followed = await followFile({
        file: await linkOf(folder, file),
        heartbeatMs,
        onError,
        clock: () => performance.now(),
        read: async () => {
          const secret = await readSecret(folder, file)
          const before = known
          if (secret.equals(before)) return
          await onChange(Buffer.copyBytesFrom(secret))
          before.fill(0)
          known = secret
        }
      })
      return {
        async close () {
          await followed.close()
          known.fill(0)
        }
      }
    }
  }
}

/** What changes when the secret does: the link that Kubernetes swaps, or the file itself. */
async function linkOf (folder: string, file: string): Promise<string> {
  const swapped = path.join(folder, '..data')
  return await lstat(swapped).then(() => swapped, () => file)
}

async function readSecret (folder: string, file: string): Promise<Buffer> {
  try {
    return await readLinked(folder, file, 3)
  } catch (cause) {
    throw storeFailure('secret-folder', `the secret ${file} cannot be taken: ${String(cause)}`)
  }
}

async function readLinked (folder: string, file: string, attempts: number): Promise<Buffer> {
  try {
    const real = await realpath(file)
    if (!real.startsWith(`${await realpath(folder)}${path.sep}`)) throw new Error('it is a link that leads out of the folder')
    return await readWhole(real)
  } catch (error) {
    // Kubernetes removes at once what it swapped out: a link that was followed just before leads nowhere now.
    if (attempts === 1 || Reflect.get(Object(error), 'code') !== 'ENOENT') throw error
  }
  return await readLinked(folder, file, attempts - 1)
}

async function readWhole (file: string): Promise<Buffer> {
  // Links were resolved, and non-blocking: a pipe in a file's place must not hang the start.
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stats = await handle.stat()
    await requireSafe(file, stats)
    const bytes = Buffer.alloc(stats.size)
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0)
    if (bytesRead === 0) throw new Error('it is empty')
    return bytes.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

async function requireSafe (file: string, stats: Stats): Promise<void> {
  const { size, mode, uid } = stats
  const faults: readonly (readonly [boolean, string])[] = [
    [!stats.isFile(), 'it is no file'],
    [uid !== 0 && uid !== process.geteuid?.(), 'it belongs to another user'],
    [(mode & 0o022) !== 0, 'others may write it'],
    [(mode & 0o077) !== 0 && !inMemory.has((await statfs(file)).type), 'others may read it, and it is on a disk: chmod 400'],
    [size > maxBytes, `it is larger than ${maxBytes} bytes`]
  ]
  const [, fault] = faults.find(([holds]) => holds) ?? []
  if (fault !== undefined) throw new Error(fault)
}
