import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parseApiKey } from '../../src/authn/api-key-format.ts'
import { defaultConfig } from '../../src/server/config.ts'
import { exampleImage } from '../../src/server/example-model.ts'
import { runServer, stopServer } from '../../src/server/run-server.ts'
import { modelGuard } from '../helpers/command.ts'

t.test('no secret that was made is in a log line, an error body, the audit log or what commands print', async (t) => {
  const data = t.testdir()
  let text = ''
  const server = await runServer({ ...defaultConfig, data, listen: { ...defaultConfig.listen, port: 0 } }, { level: 'trace', stream: { write: (line) => { text += line } } })
  const { admin = '', analyst = '' } = server.firstKeys ?? {}
  const { request } = await exampleImage(0)
  const marked = { ...request, id: 'input-canary' }
  const ask = async (url: string, key: string, body?: string): Promise<void> => {
    const response = await fetch(`${server.url}${url}`, { method: body === undefined ? 'GET' : 'POST', headers: { 'x-api-key': key, 'content-type': 'application/json' }, body })
    const answer = await response.text()
    if (!response.ok) text += answer + JSON.stringify([...response.headers])
  }
  const wrong = `${analyst.slice(0, -8)}AAAAAAAA`
  for (const key of [admin, analyst, wrong, `x${analyst}`, 'bearer-canary']) {
    await ask('/v2/models/digits', key)
    await ask('/admin/keys', key)
    await ask('/v2/models/digits/infer', key, JSON.stringify(marked))
    await ask('/v2/models/digits/infer', key, `${JSON.stringify(marked)}!`)
    await ask('/v2/models/digits/infer', key, JSON.stringify({ inputs: ['input-canary'] }))
    await ask(`/none?key=${key}`, key)
  }
  const keyFile = server.data.keys
  await stopServer(server.app)
  for (const words of [['keys', 'list', '--store', keyFile], ['audit', 'verify', server.data.audit], ['policy', 'test', server.data.policy], ['model', 'inspect', path.join(server.data.models, 'digits')]]) {
    const { stdout, stderr } = await modelGuard(...words, '--json')
    text += stdout + stderr
  }
  for (const name of readdirSync(server.data.audit, { recursive: true, encoding: 'utf8' })) {
    const file = path.join(server.data.audit, name)
    if (statSync(file).isFile()) text += readFileSync(file, 'latin1')
  }
  text += readFileSync(keyFile, 'latin1')

  const secrets: Record<string, string> = {
    'administrator\'s secret': parseApiKey(admin)?.secret ?? '',
    'analyst\'s secret': parseApiKey(analyst)?.secret ?? '',
    'a wrong secret': wrong.slice(-49, -8),
    'a strange credential': 'bearer-canary',
    'an input': 'input-canary',
    'the pixels': JSON.stringify(request.inputs[0]?.data),
    'the caller\'s address': '127.0.0.1',
    pepper: readFileSync(server.data.pepper, 'utf8').trim(),
    'the log\'s key': pemBody(server.data.logKey),
    'the model\'s key': pemBody(server.data.modelSigningKey),
    'the wrapping key': (JSON.parse(readFileSync(server.data.modelWrappingKey, 'utf8')) as { k: string }).k
  }
  for (const line of readFileSync(server.data.identities, 'utf8').trim().split('\n')) {
    const { key, key_id: id } = JSON.parse(line) as { key?: string, key_id?: string }
    if (key !== undefined) secrets[`digest key ${id ?? ''}`] = key
  }
  t.ok(text.length > 10_000)
  t.match(text, '"status":"unauthenticated"', 'the audit log is among what is searched')
  for (const [name, secret] of Object.entries(secrets)) {
    t.ok(secret.length > 8, name)
    // The server's own log names the caller's address, as every web server's does; the audit log does not.
    const where = name === 'the caller\'s address' ? text.slice(text.indexOf('"action":')) : text
    t.notOk(where.includes(secret), `${name} is nowhere`)
  }
})

function pemBody (file: string): string {
  return readFileSync(file, 'utf8').split('\n')[1] ?? ''
}
