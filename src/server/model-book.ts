import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import { exists, readNamedFile, writeFileAtomic } from '../files.ts'
import { listOf, object, optional, recordOf, string, type Read } from '../options.ts'
import { readCanary } from '../plugins/canary.ts'
import type { ModelVersion } from '../plugins/model-handle.ts'
import type { ModelChangeAuthor } from '../plugins/loaded-models.ts'
import type { ModelOptions } from '../plugins/models.ts'
import { parseStrictJson } from '../strict-json.ts'
import { turns } from '../turns.ts'
import type { DataFolder } from './data-folder.ts'

// No way out of its folder, and none that some file system would read as another name.
const readFolderName = string(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/, 'a name of letters, digits, dots, dashes and underscores')
const readDirectory = string(/^(models\/[^/]+|model-versions\/[^/]+\/[^/]+)$/, 'a folder of a bundle')

const readBook = recordOf(object({ directory: readDirectory, previous: listOf(readDirectory), beside: listOf(readDirectory), canary: optional(readCanary) }))

type Book = Read<typeof readBook>

/** Which versions a server has loaded, and how they serve: kept from start to start. */
export interface ModelBook {
  /**
   * Loads the version in this folder of `model-versions/<model>`.
   * @throws FMG_ERR_REQUEST_INVALID for what is no name of a folder, and what `app.models.load` throws.
   */
  load (model: string, folder: string, by: ModelChangeAuthor): Promise<ModelVersion>
  /** Makes a change, and keeps what it led to. */
  change<T> (work: () => Promise<T>): Promise<T>
}

/** The book of a server whose models are loaded. */
export function modelBook (app: FastifyInstance, data: DataFolder): ModelBook {
  const saving = turns()
  const change = async <T>(work: () => Promise<T>): Promise<T> => {
    const result = await work()
    await saving.take(async () => { await writeFileAtomic(data.modelBook, `${JSON.stringify(bookOf(app, data), null, 2)}\n`) })
    return result
  }
  return {
    change,
    async load (model, folder, by) {
      for (const name of [model, folder]) requireFolderName(name)
      return await change(async () => await app.models.load(model, path.join(data.modelVersions, model, folder), by))
    }
  }
}

function requireFolderName (name: string): void {
  try {
    readFolderName(name, 'folder')
  } catch (cause) {
    throw guardError('FMG_ERR_REQUEST_INVALID', { detail: 'model and folder are names of letters, digits, dots, dashes and underscores', reason: 'request-invalid', cause })
  }
}

function bookOf ({ models }: FastifyInstance, data: DataFolder): Book {
  const directoryOf = ({ id, version }: ModelVersion): string => path.relative(data.root, models.directoryOf(id, version)).split(path.sep).join('/')
  const all = models.list()
  const currents = all.filter(({ state }) => state === 'current')
  return Object.fromEntries(currents.map((current) => {
    const others = all.filter(({ id, state }) => id === current.id && state !== 'current')
    return [current.id, {
      directory: directoryOf(current),
      previous: others.filter(({ state }) => state === 'previous').map(directoryOf).reverse(),
      beside: others.filter(({ state }) => state !== 'previous').map(directoryOf),
      canary: models.canaryOf(current.id) ?? undefined
    }]
  }))
}

/**
 * What the book says is to be loaded; nothing when there is none.
 * @throws FMG_ERR_OPTION_INVALID when it is not as it was written.
 */
export async function readModelBook (data: DataFolder): Promise<Readonly<Record<string, ModelOptions>>> {
  if (!await exists(data.modelBook)) return {}
  const book = readBook(parseStrictJson(await readNamedFile(data.modelBook)), path.basename(data.modelBook))
  const inRoot = (directory: string): string => path.join(data.root, directory)
  return Object.fromEntries(Object.entries(book).map(([id, { directory, previous, beside, canary }]) =>
    [id, { directory: inRoot(directory), previous: previous.map(inRoot), beside: beside.map(inRoot), canary }]))
}
