import { readFile } from 'node:fs/promises'
import path from 'node:path'

/** Folder of the example model, in this package. */
export const exampleModel = path.join(import.meta.dirname, '..', '..', '..', 'examples', 'models', 'digits')

/** A test image of the example model: the body of an inference request, and the digit it shows. */
export interface ExampleImage {
  readonly label: number
  readonly request: { readonly inputs: readonly { readonly name: string, readonly shape: readonly number[], readonly datatype: string, readonly data: readonly number[] }[] }
}

/** Reads one of its 20 test images. */
export async function exampleImage (index: number): Promise<ExampleImage> {
  const file = path.join(exampleModel, 'images', `${String(index).padStart(2, '0')}.json`)
  return JSON.parse(await readFile(file, 'utf8')) as ExampleImage
}
