import { guardError } from '../errors.ts'
import { object, oneOf, optional, string, type Reader } from '../options.ts'
import { parseStrictJson } from '../strict-json.ts'
import type { Checkpoint } from './checkpoint.ts'
import { bodyDigest, isCommitted, sha256Text, type Opened } from './commitment.ts'
import type { Cosignature } from './cosignature.ts'
import { parseRecord, type LoggedRecord } from './read-records.ts'
import { verifyProof, type VerifyProofOptions } from './verify-proof.ts'

/** The first member of a receipt. */
export const receiptFormat = 'fastify-model-guard/receipt@v1'

/** What proves one request and its answer to whoever has their bodies. */
export interface Receipt {
  readonly format: typeof receiptFormat
  /** The exact line of the log. */
  readonly record: string
  /** C2SP tlog-proof of that line. */
  readonly proof: string
  /** 32 bytes in base64url, which open the record's commitment; absent where it is not for the reader to open. */
  readonly key?: string | undefined
  readonly opened?: Opened | undefined
}

export interface VerifyReceiptOptions extends Omit<VerifyProofOptions, 'proof' | 'entry'> {
  /** The document, as it was given out. */
  readonly receipt: Uint8Array | string
  /** The request's body, byte for byte; left out, it is not held against the receipt. */
  readonly input?: Uint8Array | string | undefined
  /** The answer's body, byte for byte; left out, it is not held against the receipt. */
  readonly output?: Uint8Array | string | undefined
}

/** What a receipt says that holds. */
export interface VerifiedReceipt {
  /** Who, to which verified model, by which rule, when, and how it ended. */
  readonly record: LoggedRecord
  readonly opened: Opened
  readonly checkpoint: Checkpoint
  readonly cosignatures: readonly Cosignature[]
}

const readDigest = string(/^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hexadecimal digits')

const readReceipt: Reader<Receipt> = object({
  format: oneOf(receiptFormat),
  record: string(),
  proof: string(),
  key: optional(string(/^[\w-]{43}$/, '32 bytes in base64url')),
  opened: optional<Opened>(object({ input: optional(readDigest), output: readDigest, principal: string() }))
})

/**
 * Verifies a receipt offline, by the log's public key alone: that its record stands in the log, that the record is committed to what the receipt
 * opens, and that this is of these bodies.
 * @throws FMG_ERR_OPTION_INVALID for a malformed key.
 * @throws FMG_ERR_RECEIPT_INVALID when it is malformed, opens nothing, or is of other bodies.
 * @throws FMG_ERR_LOG_INCONSISTENT when its proof does not hold.
 */
export function verifyReceipt ({ receipt, input, output, ...asked }: VerifyReceiptOptions): VerifiedReceipt {
  const { record: line, proof, key, opened } = parseReceipt(receipt)
  const { index, checkpoint, cosignatures } = verifyProof({ ...asked, proof, entry: line })
  const record = parseRecord(line)
  if (record?.seq !== index) throw invalid(`its line is not record ${index}`)
  if (key === undefined || opened === undefined) throw invalid('it does not open the commitment of its record')
  if (!isCommitted(record.commitment, Buffer.from(key, 'base64url'), opened)) throw invalid('its record is committed to something else than it opens')
  if (input !== undefined && opened.input !== sha256Text(bodyDigest(input))) throw invalid('it is of another input')
  if (output !== undefined && opened.output !== sha256Text(bodyDigest(output))) throw invalid('it is of another output')
  return { record, opened, checkpoint, cosignatures }
}

function parseReceipt (receipt: Uint8Array | string): Receipt {
  try {
    return readReceipt(parseStrictJson(Buffer.from(receipt)), 'receipt')
  } catch (cause) {
    throw guardError('FMG_ERR_RECEIPT_INVALID', { detail: `it is no ${receiptFormat}`, cause })
  }
}

function invalid (detail: string): Error {
  return guardError('FMG_ERR_RECEIPT_INVALID', { detail })
}
