import { boundedFetch, type FetchAnswer } from '../bounded-fetch.ts'
import { guardError } from '../errors.ts'
import type { Checkpoint } from './checkpoint.ts'
import { readCosignatures, type WitnessKey } from './cosignature.ts'
import { proveConsistency } from './prove.ts'
import { tileHashes } from './tile-hashes.ts'

/** Where a witness takes checkpoints, and the key it cosigns them with. */
export interface WitnessPlace {
  /** Its submission prefix, to which `/add-checkpoint` is added. */
  readonly url: string
  readonly key: WitnessKey
}

export interface SubmitOptions {
  readonly directory: string
  readonly witness: WitnessPlace
  readonly checkpoint: Checkpoint
  /** Records of the checkpoint that the witness is thought to have cosigned last; 0 when that is not known. */
  readonly oldSize: number
  /** For each answer. */
  readonly timeoutMs: number
}

const maxAnswerBytes = 65_536

/**
 * Has a witness cosign a checkpoint (C2SP tlog-witness, add-checkpoint), with the proof that it continues what the witness saw last.
 * @returns the witness' signature line, without its line feed, verified.
 * @throws FMG_ERR_LOG_INCONSISTENT when the witness has seen another log of this name: one that was set back, or written anew.
 * @throws FMG_ERR_WITNESS when it cannot be reached, refuses, or answers anything else than its cosignature.
 */
export async function submitCheckpoint ({ directory, witness, checkpoint, oldSize, timeoutMs }: SubmitOptions): Promise<string> {
  const { name } = witness.key
  let from = oldSize
  let answer = await ask()
  if (answer.status === 409) {
    const known = sizeIn(await textOf(answer))
    if (known > checkpoint.size) throw contradiction(name, `has seen ${known} records, this log has ${checkpoint.size}`)
    from = known
    answer = await ask()
  }
  // It knows this size, and still there is a conflict: it is about the root.
  if (answer.status === 409 && from === checkpoint.size) throw contradiction(name, `has seen other records than these ${from}`)
  if (answer.status === 422) throw contradiction(name, `has seen other records than the first ${from} of these ${checkpoint.size}`)
  if (answer.status !== 200) throw failure(name, `answers ${answer.status}`)
  return cosignatureIn(await textOf(answer))

  async function ask (): Promise<FetchAnswer> {
    const proof = await proveConsistency(tileHashes(directory, checkpoint.size), from, checkpoint.size)
    const body = `old ${from}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${checkpoint.note}`
    try {
      const place = `${witness.url.replace(/\/$/, '')}/add-checkpoint`
      return await boundedFetch(fetch, place, { timeoutMs, maxBytes: maxAnswerBytes }, { method: 'POST', headers: { accept: 'text/plain', 'content-type': 'text/plain' }, body })
    } catch (cause) {
      throw failure(name, 'cannot be reached', cause)
    }
  }

  async function textOf ({ read }: FetchAnswer): Promise<string> {
    try {
      return (await read()).toString()
    } catch (cause) {
      throw failure(name, 'does not end its answer', cause)
    }
  }

  function sizeIn (text: string): number {
    const [, size = ''] = /^(0|[1-9][0-9]{0,15})\n$/.exec(text) ?? []
    if (size === '') throw failure(name, 'answers 409 without the size that it knows')
    return Number(size)
  }

  function cosignatureIn (text: string): string {
    try {
      const line = text.replace(/\n$/, '').split('\n').find((line) => readCosignatures(`${checkpoint.note}${line}\n`, [witness.key]).length > 0)
      if (line !== undefined) return line
    } catch (cause) {
      throw failure(name, 'answers something else than its cosignature', cause)
    }
    throw failure(name, 'answers without its cosignature')
  }
}

function contradiction (name: string, what: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `witness ${name} ${what}`, reason: 'witness-contradicts' })
}

function failure (name: string, what: string, cause?: unknown): Error {
  return guardError('FMG_ERR_WITNESS', { detail: `${name} ${what}`, reason: 'witness-unavailable', cause })
}
