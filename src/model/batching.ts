import { isGuardError } from '../errors.ts'
import { integer, object, optionInvalid, type Read } from '../options.ts'
import { runEach, type Grouping, type Lane } from './grouping.ts'
import { joinRows, rowsOf, splitRows, sumOfRows, type Tensors } from './rows.ts'
import type { TensorMetadata } from './tensor.ts'
import type { RunOutput } from './worker-lane.ts'

/** How requests are run together. */
export interface BatchOptions {
  /** Rows that one run takes at most. A request that has more runs by itself. */
  readonly maxRows: number
  /** Milliseconds for which a worker that has nothing to do waits for more requests. 0: only those run together that had to wait anyway. */
  readonly maxDelayMs: number
}

/** Reads {@link BatchOptions}. */
export const readBatch = object({ maxRows: integer({ min: 2, max: 65_536 }), maxDelayMs: integer({ min: 0, max: 60_000 }) })

interface Declared {
  readonly inputs: readonly TensorMetadata[]
  readonly outputs: readonly TensorMetadata[]
}

/**
 * Runs requests as rows of one input, and gives each the rows of its own. A run that fails is done again for each by itself, so that one request
 * fails no other, unless it ended the thread.
 * @throws FMG_ERR_OPTION_INVALID where the model does not say that the first dimension of each input and each output is the same, of any size.
 */
export function batching ({ maxRows, maxDelayMs }: Read<typeof readBatch>, declared: Declared): Grouping<Tensors, RunOutput> {
  requireRows(declared)
  return {
    maxDelayMs,
    takes: (group, next) => sumOfRows(group) + rowsOf(next) <= maxRows && group.every((inputs) => isAlike(inputs, next)),
    isFull: (group) => sumOfRows(group) >= maxRows,
    run: async (lane, group) => group.length === 1 ? await runEach(lane, group) : await runTogether(lane, group)
  }
}

// By a dimension that only happens to be of the same size, one caller would be given what is another's.
function requireRows ({ inputs, outputs }: Declared): void {
  const rows = inputs[0]?.symbols?.[0] ?? null
  const other = [...inputs, ...outputs].find(({ symbols }) => rows === null || symbols?.[0] !== rows)
  if (other !== undefined) throw optionInvalid('batch', `left out: the first dimension of ${other.name} is not the one by whose name all inputs and outputs begin`, undefined)
}

/** Whether all but the number of rows is the same. */
function isAlike (some: Tensors, others: Tensors): boolean {
  return Object.entries(some).every(([name, { shape }]) => String(others[name]?.shape.slice(1)) === String(shape.slice(1)))
}

async function runTogether (lane: Lane<Tensors, RunOutput>, group: readonly Tensors[]): Promise<readonly PromiseSettledResult<RunOutput>[]> {
  try {
    const { outputs, computeMs } = await lane.run(joinRows(group))
    const total = sumOfRows(group)
    return splitRows(outputs, group.map(rowsOf)).map((own) => ({ status: 'fulfilled', value: { outputs: own, computeMs: computeMs * rowsOf(own) / total } }))
  } catch (reason) {
    if (isGuardError(reason) && reason.reason === 'thread-ended') return group.map(() => ({ status: 'rejected', reason }))
    return await runEach(lane, group)
  }
}
