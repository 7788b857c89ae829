import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { defaultConfig, loadConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'
import { createSigningKey } from '../../src/secrets/create-keys.ts'
import { signerFromFile } from '../../src/secrets/key-file.ts'
import { formatVerifierKey } from '../../src/audit/note.ts'
import { startServer } from '../helpers/server.ts'
import { startWitness } from '../helpers/witness.ts'

t.test('a prediction has a receipt, which its holder verifies offline', async (t) => {
  const folder = t.testdir({ data: { secrets: {} } })
  const at = (...names: string[]): string => path.join(folder, ...names)
  const key = at('data', 'secrets', 'log-signing-key.pem')
  await createSigningKey(key, 'log')
  const witness = await startWitness(t, formatVerifierKey('fastify-model-guard/local', (await signerFromFile(key)).publicKey))
  const audit = { ...defaultConfig.audit, witnesses: [{ url: witness.url, verifierKey: witness.verifierKey }] }
  const server = await startServer(t, { data: at('data'), audit })
  const { request } = await exampleImage(3)
  const input = JSON.stringify(request)
  const ask = async (key: string, more: Record<string, string> = {}): Promise<Response> =>
    await fetch(`${server.url}/v2/models/digits/infer`, { method: 'POST', headers: { 'x-api-key': key, 'content-type': 'application/json', ...more }, body: input })
  const answer = await ask(server.keys.analyst, { 'audit-receipt': '?1' })
  t.equal(answer.status, 200)
  writeFileSync(at('input'), input)
  writeFileSync(at('output'), Buffer.from(await answer.arrayBuffer()))
  const seq = answer.headers.get('audit-seq') ?? ''
  const fetchReceipt = async (key: string): Promise<Response> => await fetch(`${server.url}/audit/proof/${seq}`, { headers: { 'x-api-key': key } })
  let receipt = await fetchReceipt(server.keys.analyst)
  while (receipt.status === 503) receipt = await fetchReceipt(server.keys.analyst)
  writeFileSync(at('receipt'), await receipt.text())
  t.same(Object.keys(await (await fetchReceipt(server.keys.admin)).json() as object), ['format', 'record', 'proof'])
  t.equal((await ask(server.keys.analyst)).headers.get('audit-seq'), null)
  const other = await fetch(`${server.url}/v2`, { headers: { 'x-api-key': server.keys.analyst, 'audit-receipt': '?1' } })
  const otherUrl = `${server.url}/audit/proof/${other.headers.get('audit-seq') ?? ''}`
  let otherReceipt = await fetch(otherUrl, { headers: { 'x-api-key': server.keys.analyst } })
  while (otherReceipt.status === 503) otherReceipt = await fetch(otherUrl, { headers: { 'x-api-key': server.keys.analyst } })
  writeFileSync(at('other'), await otherReceipt.text())
  await stopServer(server.app)

  const verify = ['audit', 'verify-receipt', at('receipt'), '--verifier-key', server.data.verifierKey]
  const { status, stdout } = await modelGuard(...verify, '--input', at('input'), '--output', at('output'))
  t.equal(status, 0)
  t.match(stdout, new RegExp(`^the receipt holds: record ${seq} of fastify-model-guard/local, at 20`))
  for (const line of [/^principal {2}\S+/m, /^action {5}predict, success \(HTTP 200\)/m, /^model {6}digits, version 1.0.0, verified digest sha256:[0-9a-f]{64}/m, /^policy {5}sha256:\S+, rule role:analyst, decision allow/m, /^its output is /m]) t.match(stdout, line)
  t.match(await modelGuard(...verify, '--input', at('output'), '--output', at('output')), { status: 1, stderr: /FMG_ERR_RECEIPT_INVALID: receipt invalid: it is of another input/ })
  t.match(await modelGuard(...verify, '--input', at('input'), '--output', at('input')), { status: 1, stderr: /it is of another output/ })
  const held = JSON.parse((await modelGuard(...verify, '--json')).stdout) as object
  t.match(held, { ok: true, origin: 'fastify-model-guard/local', record: { seq: Number(seq) }, opened: { output: /^sha256:/ }, held: { input: false, output: false } })
  t.match(await modelGuard(...verify), { stdout: /its input was held against nothing: give --input\nits output was held against nothing: give --output\n$/ })

  t.match(await modelGuard('audit', 'verify-receipt', at('other'), '--verifier-key', server.data.verifierKey), { status: 0, stdout: /^model {6}none, version none, verified digest none/m })
  writeFileSync(at('witness.vkey'), witness.verifierKey)
  t.match(await modelGuard('audit', 'verify', server.data.audit, '--verifier-key', server.data.verifierKey, '--witness', at('witness.vkey')), { status: 0, stdout: /witnessed up to/ })
  const record = JSON.parse(readFileSync(at('receipt'), 'utf8')) as { record: string }
  t.match(JSON.parse(record.record), { seq: Number(seq) })
})

t.test('a configuration names witnesses', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'audit: { witnesses: [{ url: https://witness.example/, verifierKey: w+1+x }] }', 'wrong.yaml': 'audit: { witnesses: [{ url: http://witness.example/, verifierKey: w+1+x }] }' })
  t.match(await loadConfig(path.join(folder, 'guard.yaml')), { audit: { witnesses: [{ url: 'https://witness.example/', verifierKey: 'w+1+x' }] } })
  await t.rejects(loadConfig(path.join(folder, 'wrong.yaml')), { code: 'FMG_ERR_OPTION_INVALID', message: /audit.witnesses\[0\].url must be an https URL/ })
})
