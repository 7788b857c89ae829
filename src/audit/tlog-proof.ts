import { guardError } from '../errors.ts'
import { digestBytes } from './merkle.ts'
import { decodeBase64 } from './note.ts'

/** That an entry stands in a log, as it is written in a `.tlog-proof` file (C2SP tlog-proof); nothing of it verified. */
export interface TlogProof {
  /** What an application adds. Authenticated by nothing. */
  readonly extra?: Uint8Array | undefined
  readonly index: number
  /** Inclusion proof, from the leaf's sibling up, each hash of 32 bytes. */
  readonly hashes: readonly Uint8Array[]
  /** The signed note of the checkpoint, verbatim. */
  readonly checkpoint: string
}

const header = 'c2sp.org/tlog-proof@v1'
// No tree that can be numbered is higher.
const maxHashes = 63

/** Writes a proof as C2SP tlog-proof says. */
export function formatTlogProof ({ extra, index, hashes, checkpoint }: TlogProof): string {
  const lines = [header, ...extra === undefined ? [] : [`extra ${toBase64(extra)}`], `index ${index}`, ...hashes.map(toBase64)]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/**
 * Reads a proof without verifying anything.
 * @throws FMG_ERR_LOG_INCONSISTENT when it breaks a rule of C2SP tlog-proof.
 */
export function parseTlogProof (text: string): TlogProof {
  const end = text.indexOf('\n\n')
  if (end === -1) throw malformed('without a blank line before the checkpoint')
  const [first, second = '', ...others] = text.slice(0, end).split('\n')
  if (first !== header) throw malformed(`that does not begin with ${header}`)
  const extra = second.startsWith('extra ') ? decodeBase64(second.slice(6)) : null
  if (extra === undefined || extra?.length === 0) throw malformed('with malformed extra data')
  const [third = '', ...hashes] = extra === null ? [second, ...others] : others
  const [, index = ''] = /^index (0|[1-9][0-9]*)$/.exec(third) ?? []
  if (index === '' || !Number.isSafeInteger(Number(index))) throw malformed('with a malformed index')
  if (hashes.length > maxHashes) throw malformed(`of more than ${maxHashes} hashes`)
  return { ...extra !== null && { extra }, index: Number(index), hashes: hashes.map(readHash), checkpoint: text.slice(end + 2) }
}

function readHash (line: string): Buffer {
  const bytes = decodeBase64(line)
  if (bytes?.length !== digestBytes) throw malformed('with a malformed hash')
  return bytes
}

function toBase64 (bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function malformed (how: string): Error {
  return guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `proof ${how}` })
}
