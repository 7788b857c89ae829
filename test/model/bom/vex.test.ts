import path from 'node:path'
import t, { type Test } from 'tap'
import { isHarmless, readVex, type VexStatement } from '../../../src/model/bom/vex.ts'

async function statementsOf (t: Test, value: unknown): Promise<readonly VexStatement[]> {
  return await readVex(path.join(t.testdir({ 'vex.json': JSON.stringify(value) }), 'vex.json'))
}

const openVex = (...statements: readonly object[]): object => ({ '@context': 'https://openvex.dev/ns/v0.2.0', '@id': 'x', author: 'ann', timestamp: '2026-01-01T00:00:00Z', version: 1, statements })
const torch = 'pkg:pypi/torch@1.0'

t.test('OpenVEX says what does no harm, by any name of the vulnerability and of the product', async (t) => {
  const statement = { vulnerability: { name: 'CVE-1', '@id': 'https://example.com/CVE-1', aliases: ['GHSA-1'] }, products: [{ '@id': 'x', identifiers: { purl: torch } }], status: 'not_affected', justification: 'component_not_present' }
  const statements = await statementsOf(t, openVex(statement))
  for (const name of ['CVE-1', 'GHSA-1', 'https://example.com/CVE-1']) t.ok(isHarmless(statements, [name], [torch]), name)
  t.notOk(isHarmless(statements, ['CVE-2'], [torch]))
  t.notOk(isHarmless(statements, ['CVE-1'], ['pkg:pypi/torch@2.0']))
  for (const [status, harmless] of [['fixed', true], ['affected', false], ['under_investigation', false]] as const) {
    t.equal(isHarmless(await statementsOf(t, openVex({ ...statement, status })), ['CVE-1'], [torch]), harmless, status)
  }
})

t.test('what is said of a part of a product is said of that part alone', async (t) => {
  const statements = await statementsOf(t, openVex({ vulnerability: { name: 'CVE-1' }, products: [{ '@id': 'pkg:generic/digits', subcomponents: [{ '@id': torch }, {}] }], status: 'fixed' }, { vulnerability: { name: 'CVE-1' }, status: 'fixed' }))
  t.ok(isHarmless(statements, ['CVE-1'], [torch]))
  t.notOk(isHarmless(statements, ['CVE-1'], ['pkg:generic/digits']))
})

t.test('the last word counts', async (t) => {
  const say = (status: string, more: object = {}): object => ({ vulnerability: { name: 'CVE-1' }, products: [{ '@id': torch }], status, ...more })
  t.notOk(isHarmless(await statementsOf(t, openVex(say('affected', { timestamp: '2026-03-01T00:00:00Z' }), say('fixed'))), ['CVE-1'], [torch]))
  t.ok(isHarmless(await statementsOf(t, openVex(say('fixed', { last_updated: '2026-04-01T00:00:00Z' }), say('affected', { timestamp: '2026-03-01T00:00:00Z' }))), ['CVE-1'], [torch]))
  t.ok(isHarmless(await statementsOf(t, openVex(say('affected'), say('fixed'))), ['CVE-1'], [torch]), 'of one time, the one below')
})

t.test('CycloneDX says it by references, into its own document or another', async (t) => {
  const document = (state: string | undefined, ref = torch, more: object = {}): object => ({
    bomFormat: 'CycloneDX', specVersion: '1.6', vulnerabilities: [{ id: 'CVE-1', references: [{ id: 'GHSA-1', source: {} }], analysis: state === undefined ? undefined : { state }, affects: [{ ref }] }], ...more
  })
  for (const [state, harmless] of [['not_affected', true], ['resolved', true], ['resolved_with_pedigree', true], ['false_positive', true], ['exploitable', false], ['in_triage', false], [undefined, false]] as const) {
    t.equal(isHarmless(await statementsOf(t, document(state)), ['GHSA-1'], [torch]), harmless, String(state))
  }
  t.ok(isHarmless(await statementsOf(t, document('resolved', `urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#${encodeURIComponent(torch)}`, { metadata: { timestamp: '2026-01-01T00:00:00Z' } })), ['CVE-1'], [torch]))
})

t.test('a file that is neither is named', async (t) => {
  for (const value of [{}, [], 1, { '@context': 'https://example.com' }, openVex({ vulnerability: { name: 'x' }, status: 'fine' }), openVex({ vulnerability: { name: 'x' }, status: 'fixed', timestamp: 'lately' }), { bomFormat: 'CycloneDX' }]) {
    await t.rejects(statementsOf(t, value), { code: 'FMG_ERR_FILE', message: /vex\.json holds no statements of OpenVEX or CycloneDX/ })
  }
  await t.rejects(readVex(path.join(t.testdirName, 'nothing')), { code: 'FMG_ERR_FILE' })
})
