import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { commitmentKeyId, openCommitment } from '../audit/commitment.ts'
import { proveRecord, readLine } from '../audit/prove-record.ts'
import { parseRecord, type LoggedRecord } from '../audit/read-records.ts'
import { receiptFormat, type Receipt } from '../audit/receipt.ts'
import { guardError } from '../errors.ts'
import { object, string } from '../options.ts'
import { judging } from './judgement.ts'
import { pluginName } from './pipeline.ts'
import { isPromised } from './receipt-request.ts'
import { recording } from './recording.ts'
import { fixed, resource } from './resource.ts'

export interface ReceiptsOptions {
  /** The log's folder. */
  readonly directory: string
}

const readOptions = object({ directory: string() })

/** Permission `audit:read`. */
const readsAudit = { action: 'read', resource: resource('audit', fixed('all')) }

type Numbered = FastifyRequest<{ Params: { seq: string } }>

/**
 * `GET /audit/proof/:seq`: the receipt of a request that asked for one, for the principal whose it was; any record and its proof, which open nothing, for
 * whoever may read the log (permission `audit:read`); for everybody else there is no such record. 503 until a checkpoint covers it, which is within the log's interval.
 * Register it after the guard.
 */
export const receipts = fp(async function receipts (app: FastifyInstance, options: ReceiptsOptions): Promise<void> {
  const { directory } = readOptions(options, 'receipts')
  const { log, identities } = app[recording]

  app.get('/audit/proof/:seq', { config: { access: 'authenticated' } }, async (request: Numbered, reply) => {
    void reply.header('cache-control', 'no-store')
    const seq = seqOf(request.params.seq)
    const line = await readLine(directory, seq)
    const record = line === undefined ? undefined : parseRecord(line)
    const { principal } = request
    const pseudonym = principal === null ? undefined : identities.pseudonymOf(principal.id)
    // Who has no pseudonym yet has no record; those of strangers have none either.
    const own = principal === null || pseudonym === undefined || record?.user_id !== pseudonym ? undefined : open(record, principal.id)
    if (own !== undefined) return { ...await proven(seq), ...own }
    if (await mayReadAudit(request)) {
      if (record !== undefined) return await proven(seq)
      if (seq < log.size) throw guardError('FMG_ERR_PROOF_PENDING', pending)
    }
    if (pseudonym !== undefined && isPromised(log, seq, pseudonym)) throw guardError('FMG_ERR_PROOF_PENDING', pending)
    throw guardError('FMG_ERR_RECORD_UNKNOWN', { reason: 'record-unknown' })
  })

  async function proven (seq: number): Promise<Receipt> {
    const { line, proof } = await proveRecord({ directory, seq })
    return { format: receiptFormat, record: Buffer.from(line ?? []).toString(), proof }
  }

  /** What opens a record's commitment; `undefined` where no receipt was asked for. */
  function open ({ commitment = '', opening = '' }: LoggedRecord, principalId: string): Pick<Receipt, 'key' | 'opened'> | undefined {
    const digests = identities.digestsOf(principalId, commitmentKeyId(commitment) ?? '')
    const made = digests === undefined ? null : openCommitment({ commitment, opening }, principalId, digests)
    return made === null ? undefined : { key: made.key.toString('base64url'), opened: made.opened }
  }
}, { name: 'fastify-model-guard/receipts', fastify: '5.x', dependencies: [pluginName('audit'), pluginName('authorize')] })

const pending = { reason: 'proof-pending', headers: { 'retry-after': '1' } }

/** A number that no record has, where it is none. */
function seqOf (text: string): number {
  return /^(?:0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : Infinity
}

async function mayReadAudit (request: FastifyRequest): Promise<boolean> {
  const { decision } = await request.server[judging].beside(request, readsAudit)
  // Nothing is masked in a proof, or it would prove nothing.
  return decision.allowed && decision.obligations?.mask === undefined
}
