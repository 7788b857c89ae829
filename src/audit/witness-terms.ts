import { guardError } from '../errors.ts'
import { integer, optionInvalid } from '../options.ts'
import { parseWitnessKey, type Cosignature, type WitnessKey } from './cosignature.ts'

/** Whose word is asked for beside the log's own. */
export interface WitnessTermsOptions {
  /** `vkey`s of witnesses (C2SP tlog-cosignature). */
  readonly witnesses?: readonly string[] | undefined
  /** How many of them must have cosigned. Default 1 where any is given. */
  readonly witnessesRequired?: number | undefined
}

export interface WitnessTerms {
  readonly keys: readonly WitnessKey[]
  readonly required: number
}

/** @throws FMG_ERR_OPTION_INVALID for a malformed key, and when more are required than are given. */
export function readWitnessTerms ({ witnesses = [], witnessesRequired = Math.min(1, witnesses.length) }: WitnessTermsOptions): WitnessTerms {
  const required = integer({ min: 0 })(witnessesRequired, 'witnessesRequired')
  if (required > witnesses.length) throw optionInvalid('witnessesRequired', `at most ${witnesses.length}, the number of witnesses given`, required)
  return { keys: witnesses.map(parseWitnessKey), required }
}

/** Of several cosignatures, each with what it is of, the best of each witness, the best first. */
export function bestOfEach<T extends Cosignature> (cosignatures: readonly T[], sizeOf: (cosignature: T) => number): T[] {
  const best = new Map<WitnessKey, T>()
  // Of one size the earliest time says most.
  for (const cosignature of cosignatures.toSorted((a, b) => sizeOf(b) - sizeOf(a) || a.time - b.time)) {
    if (!best.has(cosignature.witness)) best.set(cosignature.witness, cosignature)
  }
  return [...best.values()]
}

/** @throws FMG_ERR_LOG_INCONSISTENT when these are too few. */
export function requireWitnesses ({ required }: WitnessTerms, cosigned: readonly Cosignature[]): void {
  if (cosigned.length < required) throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: tooFew(cosigned.length, required) })
}

/** How it is said that there are too few. */
export function tooFew (count: number, required: number): string {
  return `cosigned by ${count} of the witnesses given, ${required} required`
}
