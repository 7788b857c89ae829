import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { commitmentKeyId, openCommitment } from '../audit/commitment.ts'
import { proveRecord, readLine } from '../audit/prove-record.ts'
import { parseRecord, type LoggedRecord } from '../audit/read-records.ts'
import { receiptFormat, type Receipt } from '../audit/receipt.ts'
import { guardError } from '../errors.ts'
import { judging } from './judgement.ts'
import { pluginName } from './pipeline.ts'
import { isPromised } from './receipt-request.ts'
import { recording } from './recording.ts'
import { fixed, resource } from './resource.ts'

/** Permission `audit:read`. */
const readsAudit = { action: 'read', resource: resource('audit', fixed('all')) }

type Numbered = FastifyRequest<{ Params: { seq: string } }>

/**
 * `GET /audit/proof/:seq`: the receipt of a request that asked for one, for the principal whose it was; any record and its proof, which open nothing, for
 * whoever may read the log (permission `audit:read`); for everybody else there is no such record. 503 until a checkpoint covers it, which is within the log's interval.
 * Register it after the guard.
 */
export const receipts = fp(async function receipts (app: FastifyInstance): Promise<void> {
  const { log, identities } = app[recording]
  const { directory } = log

  app.get('/audit/proof/:seq', { config: { access: 'authenticated' } }, async (request: Numbered, reply) => {
    void reply.header('cache-control', 'no-store')
    const seq = seqOf(request.params.seq)
    const line = await readLine(directory, seq)
    const { principal } = request
    if (line !== undefined) {
      const own = principal === null ? undefined : open(parseRecord(line), principal.id)
      if (own !== undefined || await mayReadAudit(request)) return { ...await proven(seq, line), ...own }
    } else if ((principal !== null && isPromised(log, seq, identities.pseudonymOf(principal.id))) || (seq < log.size && await mayReadAudit(request))) {
      throw guardError('FMG_ERR_PROOF_PENDING', { reason: 'proof-pending', headers: { 'retry-after': '1' } })
    }
    throw guardError('FMG_ERR_RECORD_UNKNOWN', { reason: 'record-unknown' })
  })

  async function proven (seq: number, record: string): Promise<Receipt> {
    const { proof } = await proveRecord({ directory, seq })
    return { format: receiptFormat, record, proof }
  }

  /** What opens a record's commitment, which a key of this principal alone does; `undefined` where there is none. */
  function open (record: LoggedRecord | undefined, principalId: string): Pick<Receipt, 'key' | 'opened'> | undefined {
    const [commitment, opening] = [record?.commitment ?? '', record?.opening ?? '']
    const digests = identities.digestsOf(principalId, commitmentKeyId(commitment) ?? '')
    const made = digests === undefined ? null : openCommitment({ commitment, opening }, principalId, digests)
    return made === null ? undefined : { key: made.key.toString('base64url'), opened: made.opened }
  }
}, { name: 'fastify-model-guard/receipts', fastify: '5.x', dependencies: [pluginName('audit'), pluginName('authorize')] })

/** A number that no record has, where it is none. */
function seqOf (text: string): number {
  return /^(?:0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : Infinity
}

async function mayReadAudit (request: FastifyRequest): Promise<boolean> {
  const { decision } = await request.server[judging].beside(request, readsAudit)
  // Nothing is masked in a proof, or it would prove nothing.
  return decision.allowed && decision.obligations?.mask === undefined
}
