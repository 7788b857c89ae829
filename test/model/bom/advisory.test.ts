import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { judgeAdvisory, readAdvisories, type Advisory } from '../../../src/model/bom/advisory.ts'
import { packageReader } from '../../../src/model/bom/package-name.ts'

const read = await packageReader()

function named (purl: string): NonNullable<ReturnType<typeof read>> {
  const found = read(purl)
  if (found === undefined) throw new Error(`${purl} is no package URL`)
  return found
}

type Event = Advisory['affected'][number]['ranges'][number]['events'][number]
type Affected = Partial<Advisory['affected'][number]>

async function advisoriesOf (t: Test, ...affected: readonly Affected[]): Promise<readonly Advisory[]> {
  const folder = t.testdir({ 'X-1.json': JSON.stringify({ id: 'X-1', modified: '2026-01-01T00:00:00Z', affected }) })
  return await readAdvisories(folder, [named('pkg:pypi/torch'), named('pkg:npm/left-pad'), named('pkg:maven/org.apache/x'), named('pkg:huggingface/acme/digits')])
}

async function judge (t: Test, purl: string, ...affected: readonly Affected[]): Promise<string> {
  const [advisory] = await advisoriesOf(t, ...affected)
  return advisory === undefined ? 'not found' : judgeAdvisory(advisory, named(purl))
}

const torch = { ecosystem: 'PyPI', name: 'torch', purl: undefined }
const range = (...events: Advisory['affected'][number]['ranges'][number]['events']): Affected => ({ package: torch, ranges: [{ type: 'ECOSYSTEM', events }] })
const none = { introduced: undefined, fixed: undefined, last_affected: undefined, limit: undefined }
const introduced = (at: string): Event => ({ ...none, introduced: at })
const fixed = (at: string): Event => ({ ...none, fixed: at })

t.test('a version in a range is affected, from its introduction to before its fix', async (t) => {
  const twice = range(fixed('2.0'), introduced('1.5'), introduced('0'), fixed('1.2.3'))
  for (const [version, verdict] of [['1.0', 'affected'], ['1.2.2', 'affected'], ['1.2.3', 'unaffected'], ['1.4', 'unaffected'], ['1.5', 'affected'], ['1.10', 'affected'], ['2.0', 'unaffected'], ['2.0rc1', 'possibly']] as const) {
    t.equal(await judge(t, `pkg:pypi/torch@${version}`, twice), verdict, version)
  }
  for (const [version, verdict] of [['1.0', 'affected'], ['1.2', 'affected'], ['1.2.1', 'unaffected']] as const) {
    t.equal(await judge(t, `pkg:pypi/torch@${version}`, range(introduced('1'), { ...none, last_affected: '1.2' })), verdict, `${version} of a last one`)
  }
  t.equal(await judge(t, 'pkg:pypi/torch@3', range(introduced('0'), { ...none, limit: '2' })), 'unaffected', 'beyond its limit')
  t.equal(await judge(t, 'pkg:pypi/torch@1', range(introduced('0'), { ...none, limit: '2' })), 'affected')
  t.equal(await judge(t, 'pkg:pypi/torch@1', range({ ...none })), 'possibly', 'an event that says nothing')
})

t.test('a version that is listed is affected, and a list is more than a range that cannot be read', async (t) => {
  const listed = { package: torch, versions: ['2.0rc1', '1.0'], ranges: range(introduced('0'), fixed('0b')).ranges ?? [] }
  t.equal(await judge(t, 'pkg:pypi/torch@2.0rc1', listed), 'affected')
  t.equal(await judge(t, 'pkg:pypi/torch@2.0rc2', listed), 'unaffected')
  t.equal(await judge(t, 'pkg:pypi/torch@1.0', { package: torch, ranges: [{ type: 'GIT', events: [introduced('0')] }] }), 'unaffected', 'commits say nothing of a version')
})

t.test('a component without a version is possibly affected, of another name it is not', async (t) => {
  const all = range(introduced('0'))
  t.equal(await judge(t, 'pkg:pypi/torch', all), 'possibly')
  t.equal(await judge(t, 'pkg:pypi/Torch@1', all), 'affected')
  t.equal(await judge(t, 'pkg:npm/torch@1', all), 'unaffected', 'of another ecosystem')
  t.equal(await judge(t, 'pkg:pypi/torchvision@1', all), 'unaffected')
  t.equal(await judge(t, 'pkg:pypi/torch@1', { package: undefined, ranges: all.ranges ?? [] }), 'not found')
  t.equal(await judge(t, 'pkg:pypi/torch@1', { ranges: all.ranges ?? [] }, { package: { ...torch, ecosystem: 'PyPI:x' }, ranges: all.ranges ?? [] }), 'affected', 'what follows a colon is a release')
  t.equal(await judge(t, 'pkg:maven/org.apache/x@1', { package: { ecosystem: 'Maven', name: 'org.apache:x', purl: undefined }, versions: ['1'] }), 'affected')
  t.equal(await judge(t, 'pkg:huggingface/acme/digits@1', { package: { ecosystem: 'acme', name: 'acme/digits', purl: 'pkg:huggingface/acme/digits' }, versions: ['1'] }), 'affected', 'by the package URL, where there is no ecosystem')
  t.equal(await judge(t, 'pkg:pypi/torch@1.0', { package: torch, versions: ['9'] }, { package: torch, versions: ['1.0'] }), 'affected', 'by any of its entries')
})

t.test('a folder of advisories is read with all below it, and what is none is named', async (t) => {
  const folder = t.testdir({
    PyPI: { 'A.json': JSON.stringify({ id: 'A', affected: [{ package: torch }] }), 'B.json': JSON.stringify({ id: 'B', withdrawn: '2026-01-01T00:00:00Z', affected: [{ package: torch }] }) },
    'C.json': '{ this is about something else and is not read',
    'README.md': 'torch'
  })
  t.same((await readAdvisories(folder, [named('pkg:pypi/torch')])).map(({ id }) => id), ['A'])
  t.same(await readAdvisories(folder, []), [])
  writeFileSync(path.join(folder, 'D.json'), '{ "torch": 1 }')
  await t.rejects(readAdvisories(folder, [named('pkg:pypi/torch')]), { code: 'FMG_ERR_FILE', message: /D\.json is no advisory/ })
  mkdirSync(path.join(folder, 'empty'))
  await t.rejects(readAdvisories(path.join(folder, 'empty'), [named('pkg:pypi/torch')]), { code: 'FMG_ERR_FILE', message: /holds no advisories/ })
  await t.rejects(readAdvisories(path.join(folder, 'nowhere'), [named('pkg:pypi/torch')]), { code: 'FMG_ERR_FILE', message: /cannot read/ })
})

t.test('package URLs are read, and what is none is nothing', async (t) => {
  t.match(read('pkg:npm/%40scope/name@1.2.3?x=y#z'), { purl: 'pkg:npm/%40scope/name', ecosystem: 'npm', name: '@scope/name', version: '1.2.3' })
  t.match(read('pkg:generic/x'), { ecosystem: undefined, version: undefined })
  for (const text of ['', 'torch', 'pkg:', 'https://example.com']) t.equal(read(text), undefined, text)
})
