import { randomBytes } from 'node:crypto'
import { mkdir, open, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { manifestOf } from './models.ts'
import { externalWeights, floats, node, onnx, value } from './onnx.ts'

const columns = 4096
const rowBytes = columns * 4
const tensorsOfFile = 2

/** A model that is mostly weights. */
export interface LargeModel {
  /** Bytes of all its files. */
  readonly bytes: number
  /** Numbers that its input `x` has. */
  readonly rows: number
  /** Names of its outputs, each of 4096 numbers. */
  readonly outputs: readonly string[]
  /** What every output is, when all numbers of the input are 1. */
  readonly answer: Float32Array
}

/**
 * Writes a model of several files of weights, two tensors in each: every output is the input times one tensor, all of whose rows are the same.
 * @param fileBytes of one file: a multiple of 32 KiB.
 */
export async function writeLargeModel (folder: string, files: number, fileBytes: number): Promise<LargeModel> {
  const tensorBytes = fileBytes / tensorsOfFile
  const rows = tensorBytes / rowBytes
  const row = Buffer.from(Float32Array.from(randomBytes(columns), (byte) => byte - 128).buffer)
  const tensors = Array.from({ length: files * tensorsOfFile }, (_, index) => ({ name: `w${index}`, file: `weights/${Math.floor(index / tensorsOfFile)}.bin`, offset: (index % tensorsOfFile) * tensorBytes }))
  const graph = onnx({
    nodes: tensors.map(({ name }) => node('MatMul', ['x', name], [`y${name}`])),
    inputs: [value('x', [1, rows])],
    outputs: tensors.map(({ name }) => value(`y${name}`, [1, columns])),
    initializers: tensors.map(({ name, file, offset }) => externalWeights(name, [rows, columns], file, { offset, length: tensorBytes }))
  })
  await mkdir(path.join(folder, 'weights'), { recursive: true })
  await writeFile(path.join(folder, 'model.onnx'), graph)
  await writeFile(path.join(folder, 'model.json'), manifestOf({ name: 'large' }))
  for (const file of new Set(tensors.map((tensor) => tensor.file))) await writeRepeated(path.join(folder, file), row, fileBytes / rowBytes)
  const answer = new Float32Array(new Uint8Array(row).buffer).map((number) => number * rows)
  return { bytes: files * fileBytes + graph.length, rows, outputs: tensors.map(({ name }) => `y${name}`), answer }
}

async function writeRepeated (file: string, row: Buffer, rows: number): Promise<void> {
  const rowsAtOnce = 64
  const block = Buffer.concat(Array.from({ length: rowsAtOnce }, () => row))
  const handle = await open(file, 'w')
  try {
    for (let written = 0; written < rows; written += rowsAtOnce) await handle.write(block.subarray(0, Math.min(rowsAtOnce, rows - written) * rowBytes))
  } finally {
    await handle.close()
  }
}

/** So many ones, as bytes. */
export function ones (count: number): Uint8Array {
  return new Uint8Array(floats(...Array.from({ length: count }, () => 1)))
}
