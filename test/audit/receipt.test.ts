import { randomBytes } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { bodyDigest, commit, commitmentKeyId, isCommitted, openCommitment, sha256Text } from '../../src/audit/commitment.ts'
import { keyedDigest } from '../../src/audit/keyed-digest.ts'
import { proveRecord } from '../../src/audit/prove-record.ts'
import { receiptFormat, verifyReceipt, type Receipt } from '../../src/audit/receipt.ts'
import { auditLine } from '../../src/audit/line.ts'
import { lineSeq } from '../../src/audit/line-check.ts'
import { append, appendAll, openTestLog, readLines, record, verifierKey } from './log-fixture.ts'
import { publishing } from './log-of-lines.ts'
import { cosigner } from '../helpers/witness.ts'

const digests = keyedDigest('k_1', Buffer.alloc(32, 7))
const [input, output] = ['{"in":1}', '{"out":2}']
const bodies = { input: bodyDigest(input), output: bodyDigest(output) }

interface Made {
  readonly directory: string
  readonly receipt: Required<Receipt>
}

/** A log with a committed record among others, and its receipt. */
async function make (t: Test): Promise<Made> {
  const directory = path.join(t.testdir(), 'log')
  const log = await openTestLog(directory)
  await appendAll(log, 0, 5)
  const committed = commit({ digests, principal: 'ann', ...bodies })
  const seq = await append(log, { ...record(5), ...committed, model_digest: 'sha256:1', rule: 'a rule' })
  await appendAll(log, 6, 9)
  await log.close()
  const { line, proof } = await proveRecord({ directory, seq })
  const opened = openCommitment(committed, 'ann', digests)
  return { directory, receipt: { format: receiptFormat, record: Buffer.from(line ?? []).toString(), proof, key: opened?.key.toString('base64url') ?? '', opened: opened?.opened ?? { output: '', principal: '' } } }
}

t.test('a commitment is opened by the principal\'s key alone, and hides what it binds', async (t) => {
  const committed = commit({ digests, principal: 'ann', ...bodies })
  t.equal(commitmentKeyId(committed.commitment), 'k_1')
  const { key = Buffer.alloc(0), opened } = openCommitment(committed, 'ann', digests) ?? {}
  t.same(opened, { input: sha256Text(bodies.input), output: sha256Text(bodies.output), principal: 'ann' })
  const hidden = Buffer.from(committed.opening, 'base64url')
  for (const body of [bodies.input, bodies.output]) {
    t.equal(hidden.indexOf(body), -1)
    t.notMatch(committed.commitment, body.toString('hex'))
  }
  t.ok(opened !== undefined && isCommitted(committed.commitment, key, opened))
  t.equal(openCommitment(committed, 'bob', digests), null)
  t.equal(openCommitment(committed, 'ann', keyedDigest('k_1', Buffer.alloc(32, 8))), null)
  t.equal(openCommitment({ ...committed, commitment: 'garbage' }, 'ann', digests), null)
  const again = commit({ digests, principal: 'ann', ...bodies })
  t.not(again.commitment, committed.commitment, 'equal requests are not seen to be equal')
  t.not(again.opening, committed.opening)
  const same = commit({ digests, principal: 'ann', input: bodies.input, output: bodies.input })
  const opening = Buffer.from(same.opening, 'base64url')
  t.notOk(opening.subarray(0, 32).equals(opening.subarray(32)), 'nor an input and output that are')
})

t.test('a request without a body opens its output alone', async (t) => {
  const committed = commit({ digests, principal: 'ann', input: undefined, output: bodies.output })
  t.equal(Buffer.from(committed.opening, 'base64url').length, 32)
  t.same(openCommitment(committed, 'ann', digests)?.opened, { output: sha256Text(bodies.output), principal: 'ann' })
})

t.test('an id of any characters can be committed to', async (t) => {
  const committed = commit({ digests, principal: 'ann\ud800', ...bodies })
  t.ok(openCommitment(committed, 'ann\ud800', digests))
})

t.test('a committed line is canonical and of the usual shape', async (t) => {
  const committed = commit({ digests: keyedDigest(`k_${'x'.repeat(12)}`, randomBytes(32)), principal: 'ann', ...bodies })
  const line = auditLine({ ...record(1), ...committed, compute_ms: 1, amends: 0, org: 'acme', model_version: '1' }, 3)
  t.match(JSON.parse(line), committed, 'nothing is cut')
  t.equal(lineSeq(Buffer.from(line), 0, Buffer.byteLength(line)), 3)
})

t.test('a receipt is verified with the bodies and the log\'s public key', async (t) => {
  const { receipt } = await make(t)
  const text = JSON.stringify(receipt)
  t.match(verifyReceipt({ receipt: text, input, output, verifierKey }), {
    record: { seq: 5, model_digest: 'sha256:1', rule: 'a rule' }, opened: { principal: 'ann' }, checkpoint: { size: 9 }, cosignatures: []
  })
  t.ok(verifyReceipt({ receipt: Buffer.from(text), verifierKey }), 'also without them')
  t.ok(verifyReceipt({ receipt: text, input: Buffer.from(input), verifierKey }))
  for (const [wrong, what] of [[{ input: `${input} ` }, 'another input'], [{ output: '' }, 'another output'], [{ input: output, output: input }, 'another input']] as const) {
    t.throws(() => verifyReceipt({ receipt: text, verifierKey, ...wrong }), { code: 'FMG_ERR_RECEIPT_INVALID', message: `receipt invalid: it is of ${what}` })
  }
  t.throws(() => verifyReceipt({ receipt: text, verifierKey, witnesses: [cosigner('witness.example').verifierKey] }), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /cosigned by 0/ })
})

t.test('a receipt of which anything is changed is refused', async (t) => {
  const { directory, receipt } = await make(t)
  const { key, opened } = receipt
  const other = await proveRecord({ directory, seq: 6 })
  const refuse = (changed: object, code: string, what: RegExp): void => {
    t.throws(() => verifyReceipt({ receipt: JSON.stringify({ ...receipt, ...changed }), verifierKey }), { code, message: what }, JSON.stringify(changed).slice(0, 80))
  }
  const noReceipt = /it is no fastify-model-guard\/receipt@v1/
  const committedElse = /its record is committed to something else/
  refuse({ format: 'fastify-model-guard/receipt@v2' }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ more: 1 }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ record: undefined }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ key: key.slice(1) }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ opened: { ...opened, more: 1 } }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ opened: { ...opened, output: 'sha256:1' } }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ opened: { ...opened, output: undefined } }, 'FMG_ERR_RECEIPT_INVALID', noReceipt)
  refuse({ key: undefined }, 'FMG_ERR_RECEIPT_INVALID', /does not open/)
  refuse({ opened: undefined }, 'FMG_ERR_RECEIPT_INVALID', /does not open/)
  refuse({ key: randomBytes(32).toString('base64url') }, 'FMG_ERR_RECEIPT_INVALID', committedElse)
  for (const change of [{ principal: 'bob' }, { input: sha256Text(bodies.output) }, { output: sha256Text(bodies.input) }, { input: undefined }]) refuse({ opened: { ...opened, ...change } }, 'FMG_ERR_RECEIPT_INVALID', committedElse)
  refuse({ record: Buffer.from(other.line ?? []).toString(), proof: other.proof }, 'FMG_ERR_RECEIPT_INVALID', committedElse)
  refuse({ record: readLines(directory)[6] }, 'FMG_ERR_LOG_INCONSISTENT', /this is not record 5/)
  refuse({ proof: other.proof }, 'FMG_ERR_LOG_INCONSISTENT', /this is not record 6/)
  for (const [member, value] of Object.entries(JSON.parse(receipt.record) as Record<string, string | number>)) {
    const changed = receipt.record.replace(JSON.stringify(value), JSON.stringify(typeof value === 'number' ? value + 1 : `${value}x`))
    t.not(changed, receipt.record, member)
    refuse({ record: changed }, 'FMG_ERR_LOG_INCONSISTENT', /this is not record 5/)
  }
  for (const garbage of ['', '[]', '{}', `${JSON.stringify(receipt)}x`, JSON.stringify(receipt).replace('{', `{"format":"${receiptFormat}",`)]) {
    t.throws(() => verifyReceipt({ receipt: garbage, verifierKey }), { code: 'FMG_ERR_RECEIPT_INVALID', message: noReceipt })
  }
  t.throws(() => verifyReceipt({ receipt: JSON.stringify(receipt), verifierKey: 'x' }), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('a line that is no record of its number is no receipt\'s, though it stands in a log', async (t) => {
  const { receipt } = await make(t)
  for (const line of ['no record', receipt.record]) {
    const proof = await publishing(path.join(t.testdir(), 'lines'), line)
    t.throws(() => verifyReceipt({ receipt: JSON.stringify({ ...receipt, record: line, proof }), verifierKey }), { code: 'FMG_ERR_RECEIPT_INVALID', message: /its line is not record 0/ })
  }
})

t.test('a key is of 32 bytes, and no other is the same to HMAC', async (t) => {
  // One whose last byte is zero, which a shorter key would stand for.
  let committed = commit({ digests, principal: 'ann', ...bodies })
  let made = openCommitment(committed, 'ann', digests)
  while (made !== null && made.key.at(-1) !== 0) {
    committed = commit({ digests, principal: 'ann', ...bodies })
    made = openCommitment(committed, 'ann', digests)
  }
  if (made === null) throw new Error('not opened')
  t.equal(isCommitted(committed.commitment, made.key, made.opened), true)
  t.equal(isCommitted(committed.commitment, made.key.subarray(0, -1), made.opened), false)
  t.equal(isCommitted(undefined, made.key, made.opened), false)
})
