import { guardError } from '../errors.ts'
import type { Tensor } from './tensor.ts'

export type Tensors = Readonly<Record<string, Tensor>>

/** How many rows these inputs have, by their first dimension. */
export function rowsOf (inputs: Tensors): number {
  return Object.values(inputs)[0]?.shape[0] ?? 0
}

/** How many rows all of these have. */
export function sumOfRows (group: readonly Tensors[]): number {
  return group.reduce((sum, inputs) => sum + rowsOf(inputs), 0)
}

/** The rows of all these, one after the other, in memory of their own. */
export function joinRows (group: readonly Tensors[]): Tensors {
  return Object.fromEntries(Object.entries(group[0] ?? {}).map(([name, first]) => {
    const parts = group.flatMap((inputs) => inputs[name] ?? [])
    const shape = [sumOfRows(group), ...first.shape.slice(1)]
    return [name, { datatype: first.datatype, shape, data: joined(parts.map(({ data }) => data)) }]
  }))
}

function joined (parts: readonly Tensor['data'][]): Tensor['data'] {
  const bytes = parts.filter((part) => part instanceof Uint8Array)
  return bytes.length === parts.length ? Buffer.concat(bytes) : parts.flatMap((part) => [...part].map(String))
}

/**
 * Each its rows, copied: nobody holds memory in which another's lie.
 * @throws FMG_ERR_MODEL_FAILED when an output has another number of rows than they are together.
 */
export function splitRows (tensors: Tensors, rows: readonly number[]): readonly Tensors[] {
  const total = rows.reduce((sum, count) => sum + count, 0)
  for (const { shape } of Object.values(tensors)) if (shape[0] !== total || total === 0) throw guardError('FMG_ERR_MODEL_FAILED', { reason: 'rows-lost' })
  let from = 0
  return rows.map((count) => {
    const begin = from
    from += count
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, part(tensor, begin, from, total)]))
  })
}

function part ({ datatype, shape, data }: Tensor, from: number, until: number, total: number): Tensor {
  const rowLength = data.length / total
  return { datatype, shape: [until - from, ...shape.slice(1)], data: data.slice(from * rowLength, until * rowLength) }
}
