import fc from 'fast-check'
import t from 'tap'
import { detailJson } from '../../src/audit/detail.ts'
import { auditLine, draftLine, maxLineBytes, numberLine } from '../../src/audit/line.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import { canonicalJson } from '../../src/encoding.ts'

const words = ['credential_id', 'credential_method', 'decision', 'facts', 'input_hash', 'model_digest', 'output_hash', 'reason', 'resource_type', 'sketch',
  'timestamp', 'user_id'] as const
const texts = [...words, 'action', 'model_id', 'model_version', 'org', 'policy', 'request_id', 'resource_id', 'rule'] as const
const numbers = ['amends', 'compute_ms', 'count', 'duration_ms', 'http_status'] as const

const unit = fc.constantFrom('grapheme', 'binary')
const text = unit.chain((unit) => fc.string({ unit, maxLength: 60 }))
const arbitraryRecord: fc.Arbitrary<AuditRecord> = fc.record({
  ...Object.fromEntries(texts.map((name) => [name, text])),
  ...Object.fromEntries(numbers.map((name) => [name, fc.double({ noNaN: true, noDefaultInfinity: true })])),
  detail: fc.dictionary(text, fc.oneof(fc.jsonValue({ maxDepth: 1 }), text), { maxKeys: 3 }),
  action: text,
  status: fc.constantFrom('success', 'denied'),
  timestamp: text
}, { requiredKeys: ['action', 'status', 'timestamp'] })

const plain: AuditRecord = { timestamp: '2026-11-22T00:00:00.000Z', action: 'predict', status: 'success' }

t.test('a line is the canonical JSON of its record and its seq', async () => {
  fc.assert(fc.property(arbitraryRecord, fc.maxSafeNat(), (record, seq) => {
    const line = auditLine(record, seq)
    return line === canonicalJson({ ...record, seq })
  }), { numRuns: 500 })
})

t.test('a line says nothing of the record that was written before it', async (t) => {
  const first = auditLine({ ...plain, org: 'acme', rule: 'a' }, 0)
  t.equal(auditLine(plain, 1), '{"action":"predict","seq":1,"status":"success","timestamp":"2026-11-22T00:00:00.000Z"}')
  t.equal(auditLine({ ...plain, org: 'acme', rule: 'a' }, 0), first)
  t.match(auditLine({ ...plain, org: '"' }, 0), /"org":"\\""/)
})

t.test('a draft takes any number without being written again', async (t) => {
  const draft = draftLine(plain)
  t.equal(numberLine(draft, 7), auditLine(plain, 7))
  t.equal(numberLine(draft, 8), auditLine(plain, 8))
})

t.test('a hostile text can neither end the line nor add a member', async (t) => {
  const hostile = 'x","status":"success"}\n{"seq":1,\u2028\0\\'
  const line = auditLine({ ...plain, org: hostile, status: 'denied' }, 3)
  t.notMatch(line, /\n/)
  t.same(JSON.parse(line), { ...plain, org: hostile, status: 'denied', seq: 3 })
})

t.test('lone surrogates become the replacement character', async (t) => {
  const line = auditLine({ ...plain, org: 'a\ud800b', request_id: '\udc00', rule: '\u{1f600}' }, 0)
  t.ok(line.isWellFormed())
  t.same(JSON.parse(line), { ...plain, org: 'a\ufffdb', request_id: '\ufffd', rule: '\u{1f600}', seq: 0 })
})

t.test('a text of 512 code units stays whole, a longer one is cut with a visible mark', async (t) => {
  const read = (org: string): unknown => (JSON.parse(auditLine({ ...plain, org }, 0)) as AuditRecord).org
  t.equal(read('x'.repeat(512)), 'x'.repeat(512))
  t.equal(read('x'.repeat(513)), 'x'.repeat(511) + '…')
  for (const name of words) {
    const word = (value: string): unknown => (JSON.parse(auditLine({ ...plain, [name]: value }, 0)) as Record<string, unknown>)[name]
    t.equal(word('x'.repeat(128)), 'x'.repeat(128))
    t.equal(word('x'.repeat(129)), 'x'.repeat(127) + '…', `${name} is a word, and 128 is long for one`)
  }
  t.equal(read('x'.repeat(510) + '\u{1f600}' + 'y'), 'x'.repeat(510) + '\ufffd…', 'and never within a character without saying so')
})

t.test('the largest record fits into a line', async (t) => {
  const worst = Object.fromEntries(texts.map((name) => [name, '\u0001'.repeat(600)]))
  const most = Object.fromEntries(numbers.map((name) => [name, -Number.MIN_VALUE - 1.1e-300 / 3]))
  for (const filling of ['\u0001', '"', '\u20ac', '\u{1f600}', 'x']) {
    const detail = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [filling.repeat(6) + String(index), filling.repeat(200)]))
    const record = { ...plain, ...worst, ...most, status: '\u0001'.repeat(600), detail } as unknown as AuditRecord
    t.ok(Buffer.byteLength(auditLine(record, Number.MAX_SAFE_INTEGER)) <= maxLineBytes)
  }
  const brim = { list: ['\u20ac'.repeat(468), ...Array.from({ length: 19 }, () => '\u20ac'.repeat(498))] }
  const line = auditLine({ ...plain, ...worst, ...most, status: '\u0001'.repeat(600), detail: brim } as unknown as AuditRecord, Number.MAX_SAFE_INTEGER)
  t.match(auditLine({ ...plain, detail: { list: [...brim.list, ''] } }, 0), /"detail":\{"cut":/)
  t.same((JSON.parse(line) as AuditRecord).detail, brim, 'a detail of ten thousand units is whole')
  t.ok(Buffer.byteLength(line) > 60_000 && Buffer.byteLength(line) <= maxLineBytes)
})

t.test('numbers that JSON cannot hold are left out', async (t) => {
  const line = auditLine({ ...plain, duration_ms: NaN, count: Infinity, amends: -0, http_status: 1e21 }, 0)
  t.equal(line, '{"action":"predict","amends":0,"http_status":1e+21,"seq":0,"status":"success","timestamp":"2026-11-22T00:00:00.000Z"}')
})

t.test('a detail of any kind has a canonical text', async (t) => {
  const circular: Record<string, unknown> = { name: 'loop' }
  circular.self = circular
  const cases: [unknown, string][] = [
    [{ b: 1, a: [true, null, 'x\n'], skipped: undefined, run: () => 1, mark: Symbol('s') }, '{"a":[true,null,"x\\n"],"b":1}'],
    [{ n: NaN, i: 10n, list: [undefined, () => 1] }, '{"i":"10","list":[null,null],"n":null}'],
    [{ when: new Date(0), never: new Date(NaN) }, '{"never":null,"when":"1970-01-01T00:00:00.000Z"}'],
    [{ bytes: Buffer.from('secret input') }, '{"bytes":"…"}'],
    [{ 'a\ud800': '\ud800', b: 'x'.repeat(600) }, `{"a\ufffd":"\ufffd","b":"${'x'.repeat(511)}…"}`],
    [JSON.parse('{"__proto__":{"a":1},"10":1,"9":2}'), '{"10":1,"9":2,"__proto__":{"a":1}}'],
    [{ get broken () { throw new Error('no') } }, '{"cut":"unreadable"}'],
    [new Proxy({}, { ownKeys () { throw new Error('no') } }), '{"cut":"unreadable"}'],
    [circular, `${'{"name":"loop","self":'.repeat(8)}"…"${'}'.repeat(8)}`]
  ]
  for (const [detail, expected] of cases) {
    t.equal(detailJson(detail), expected)
    t.equal(canonicalJson(JSON.parse(expected)), expected)
  }
})

t.test('a detail that is too large becomes the beginning of its text', async (t) => {
  for (const detail of [
    { list: Array.from({ length: 100_000 }, () => 'x') },
    { list: Array.from({ length: 100_000 }, () => []) },
    Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`name${index}`, index]))
  ]) {
    const json = detailJson(detail)
    const { cut } = JSON.parse(json) as { cut: string }
    t.equal(cut.length, 512)
    t.ok(cut.endsWith('…'))
    t.equal(canonicalJson(JSON.parse(json)), json)
  }
})

t.test('a detail without end is not walked to its end', async (t) => {
  let reads = 0
  const counted = <T extends object>(value: T): T => new Proxy(value, {
    get: (target, name): unknown => {
      reads++
      return Reflect.get(target, name)
    }
  })
  detailJson({ list: counted(Array.from({ length: 1_000_000 }, () => null)) })
  detailJson(counted(Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`name${index}`, null]))))
  t.ok(reads < 8000, `${reads} members were read`)
})
