import { availableParallelism } from 'node:os'
import { guardError } from '../errors.ts'
import type { BundleKind } from './bundle-kind.ts'
import { sealedBytes, type SealingKey } from './cobblestone.ts'
import { nodeNames, partsOfBytes } from './digest.ts'
import { withFile } from './folder.ts'
import { maxManifestBytes } from './manifest-parts.ts'
import { sharedMemory } from './memory.ts'
import { startOpenThreads, type OpenThreads } from './open-threads.ts'
import { openTogether, type LargeFile } from './open-together.ts'
import type { OnProgress } from './progress.ts'
import { fileContext, sealedName, signedFile } from './sealed-bundle.ts'
import { fileSource } from './sealed-source.ts'
import { requireLength, requireParts, type SignedFile } from './signed-file.ts'
import type { Statement } from './statement.ts'
import { proveLength, unseal } from './unseal.ts'

/** How the sealed files of a bundle are opened. */
export interface FileOpening {
  readonly kind: BundleKind
  readonly directory: string
  readonly statement: Statement
  readonly dataKey: Uint8Array
  /** How many threads open large files; with 0, this one does. */
  readonly threads: number
  readonly onProgress: OnProgress
}

/** More would wait for memory, and each has some of its own. */
export const defaultThreads = Math.min(8, availableParallelism())

/** Smaller files are open before threads have started. */
const leastTogether = 64 * 1024 * 1024

/** Opens the sealed files of a bundle into memory: small ones in this thread, large ones in several together. */
export class FileOpener {
  /** The plaintext of every file, also of one that was refused: to be wiped then. */
  readonly files = new Map<string, Uint8Array>()
  readonly #opening: FileOpening
  #threads: OpenThreads | undefined

  constructor (opening: FileOpening) {
    this.#opening = opening
  }

  /**
   * Opens the manifest.
   * @throws FMG_ERR_BUNDLE_INVALID when it is not signed for, or larger than a manifest is, before it is decrypted; else as `open` does.
   */
  async openManifest (): Promise<Uint8Array> {
    const { statement, kind } = this.#opening
    return await this.open(signedFile(statement, kind.manifest), maxManifestBytes)
  }

  /**
   * Opens a file and holds what was decrypted against what was signed.
   * @param maxBytes of plaintext; a larger file is not decrypted.
   * @throws FMG_ERR_MODEL_TAMPERED, FMG_ERR_BUNDLE_INVALID, FMG_ERR_MODEL_FAILED
   */
  async open (file: SignedFile, maxBytes = Infinity): Promise<Uint8Array> {
    return await this.#openSmall(file, maxBytes) ?? await this.#prove(file, async (large) => {
      await this.#openTogether([large])
      return large.proven.plain
    })
  }

  /** The same for several; the large ones at the same time. */
  async openAll (files: readonly SignedFile[]): Promise<void> {
    const large: SignedFile[] = []
    for (const file of files) if (await this.#openSmall(file) === undefined) large.push(file)
    if (large.length > 0) await this.#openLarge(large, [])
  }

  /** Ends the threads. */
  async close (): Promise<void> {
    await this.#threads?.close()
  }

  /** The plaintext; `undefined` when the file is a large one. */
  async #openSmall (file: SignedFile, maxBytes = Infinity): Promise<Uint8Array | undefined> {
    const { directory, statement, threads, onProgress } = this.#opening
    const { name } = file
    return await withFile(directory, sealedName(name), async ({ handle, bytes }) => {
      if (bytes > sealedBytes(maxBytes)) throw guardError('FMG_ERR_BUNDLE_INVALID', { detail: `${name} is larger than ${maxBytes} bytes`, reason: 'too-large' })
      if (bytes >= leastTogether && threads > 0) return undefined
      const plain = await unseal(fileSource(sealedName(name), handle, bytes), this.#sealing(file))
      this.files.set(name, plain)
      requireParts(file, await partsOfBytes(plain, statement))
      onProgress({ name, bytes: plain.length, totalBytes: plain.length })
      return plain
    })
  }

  async #openLarge ([file, ...others]: readonly SignedFile[], proven: readonly LargeFile[]): Promise<void> {
    if (file === undefined) await this.#openTogether(proven)
    else await this.#prove(file, async (large) => { await this.#openLarge(others, [...proven, large]) })
  }

  /** The file stays open, and its keys stay, until it is done with. */
  async #prove<T> (file: SignedFile, use: (large: LargeFile) => Promise<T>): Promise<T> {
    const { name } = file
    return await withFile(this.#opening.directory, sealedName(name), async ({ handle, bytes }) => {
      const proven = await proveLength(fileSource(sealedName(name), handle, bytes), this.#sealing(file), sharedMemory)
      this.files.set(name, proven.plain)
      try {
        requireLength(file, proven.plain.length)
        return await use({ ...file, proven })
      } finally {
        proven.keys.secret.fill(0)
      }
    })
  }

  async #openTogether (large: readonly LargeFile[]): Promise<void> {
    const { statement, threads, onProgress } = this.#opening
    this.#threads ??= startOpenThreads(threads)
    await openTogether(this.#threads, large, nodeNames[statement.hash], onProgress)
  }

  #sealing ({ name }: SignedFile): SealingKey {
    const { kind, statement, dataKey } = this.#opening
    return { key: dataKey, context: fileContext(kind, statement.digest, name) }
  }
}
