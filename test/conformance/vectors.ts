import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

const folder = process.env.VECTORS ?? path.resolve('../shared/vectors')

/** Where the published vectors are; `undefined` when they are not there, and a conformance test is skipped. */
export const vectorsFolder: string | undefined = existsSync(folder) ? folder : undefined

/** A JSON file among the vectors. */
export function readVectors (file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'))
}
