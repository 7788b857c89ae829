import { guardError } from '../errors.ts'
import { openCheckpoint, type Checkpoint } from './checkpoint.ts'
import { readCosignatures, type Cosignature } from './cosignature.ts'
import { fromDigest, hashLeaf, verifyInclusion } from './merkle.ts'
import { parseVerifierKey } from './note.ts'
import { parseTlogProof } from './tlog-proof.ts'
import { bestOfEach, readWitnessTerms, requireWitnesses, type WitnessTermsOptions } from './witness-terms.ts'

export interface VerifyProofOptions extends WitnessTermsOptions {
  /** C2SP tlog-proof. */
  readonly proof: string
  /** The entry's bytes: of a record its line, without the line feed. */
  readonly entry: Uint8Array | string
  /** `vkey` of the log (C2SP signed-note). */
  readonly verifierKey: string
}

/** What a proof says that holds. */
export interface ProvenEntry {
  /** Of a record: its seq. */
  readonly index: number
  readonly checkpoint: Checkpoint
  /** Which of the witnesses given have seen it, and when. */
  readonly cosignatures: readonly Cosignature[]
}

/**
 * Verifies offline that an entry stands in a log: the checkpoint's signature, the path from the entry to its root, and the cosignatures of
 * as many witnesses as are required.
 * @throws FMG_ERR_OPTION_INVALID for a malformed key, and when more witnesses are required than given.
 * @throws FMG_ERR_LOG_INCONSISTENT when the proof is malformed or does not hold.
 */
export function verifyProof ({ proof, entry, verifierKey, ...asked }: VerifyProofOptions): ProvenEntry {
  const key = parseVerifierKey(verifierKey)
  const terms = readWitnessTerms(asked)
  const { index, hashes, checkpoint: note } = parseTlogProof(proof)
  const checkpoint = openCheckpoint(note, key)
  const leaf = fromDigest(hashLeaf(Buffer.from(entry)))
  if (!verifyInclusion({ index, size: checkpoint.size, leaf, root: checkpoint.root, proof: hashes })) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `this is not record ${index} of the first ${checkpoint.size}` })
  }
  const cosignatures = bestOfEach(readCosignatures(note, terms.keys), () => checkpoint.size)
  requireWitnesses(terms, cosignatures)
  return { index, checkpoint, cosignatures }
}
