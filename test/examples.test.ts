import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { checkPolicy } from '../src/authz/check-policy.ts'
import { loadPolicy } from '../src/authz/file-policy.ts'
import { readTrustFile } from '../src/model/trust-file.ts'
import { loadConfig } from '../src/server/config.ts'
import { defaultPolicy } from '../src/server/default-policy.ts'
import { issue } from './helpers/certificates.ts'
import { run } from './helpers/command.ts'

const root = path.join(import.meta.dirname, '..', '..')
const example = (name: string): string => path.join(root, 'dist', 'examples', name)

/** Starts a program, and gives the first line it prints that fits, and how it ends when it is told to. */
async function start (t: Test, file: string, words: readonly string[], pattern: RegExp): Promise<{ line: string, stop: () => Promise<unknown> }> {
  const child = spawn(process.execPath, [file, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
  const over = new Promise((resolve) => { child.once('exit', resolve) })
  const stop = async (): Promise<unknown> => {
    child.kill('SIGTERM')
    return await over
  }
  t.teardown(stop)
  for await (const line of createInterface(child.stdout)) if (pattern.test(line)) return { line, stop }
  throw new Error(`${file} ended without ${String(pattern)}`)
}

t.test('a server with a model of its own answers its own curl line', async (t) => {
  const { line, stop } = await start(t, example('own-model.js'), [t.testdir(), '0'], /^curl /)
  t.match(await run('sh', ['-c', line]), { status: 0, stdout: '{"y":42}' })
  t.match(await run('sh', ['-c', line.replace(/x-api-key: \S+'/, "x-api-key: other'")]), { stdout: /FMG_ERR_CREDENTIAL_INVALID/ })
  t.equal(await stop(), 0)
})

t.test('a signed upload is taken, and once', async (t) => {
  const { status, stdout } = await run(process.execPath, [example('signed-upload.js'), '0'])
  t.equal(status, 0)
  t.match(stdout, /^uploaded \{ from: 'training' \}\nagain \{[^}]*FMG_ERR_UPLOAD_INVALID[^}]*nonce used/)
})

t.test('the reference server runs from a program', async (t) => {
  const guard = readFileSync(path.join(root, 'examples', 'reference-server', 'guard.yaml'), 'utf8')
  const file = path.join(t.testdir({ 'guard.yaml': guard.replace('port: 3000', 'port: 0') }), 'guard.yaml')
  const { line, stop } = await start(t, example('reference-server/server.js'), [file], /^listening on /)
  const [, url = ''] = /listening on (\S+),/.exec(line) ?? []
  t.equal((await fetch(`${url}/v2/health/live`)).status, 200)
  t.equal((await fetch(`${url}/v2`)).status, 401)
  t.equal(await stop(), 0)
})

t.test('the example configuration says what is the default anyway', async (t) => {
  const config = await loadConfig(path.join(root, 'examples', 'reference-server', 'guard.yaml'))
  t.match(config, { listen: { host: '127.0.0.1', port: 3000 }, mode: 'enforce', audit: { durability: 'before-response' } })
  t.equal(config.data, path.join(root, 'examples', 'reference-server', 'data'))
})

t.test('the policy of the first start is good, its tests included', async (t) => {
  t.ok(loadPolicy(defaultPolicy, { source: 'policy.yaml' }).tests >= 3)
})

t.test('every policy of the documentation is good, its tests included, and says nothing in vain', async (t) => {
  const policies = blocks('yaml').filter(({ text }) => text.startsWith('version: 1\n'))
  t.ok(policies.length > 0)
  for (const { source, text } of policies) t.same(checkPolicy(text, { source }).findings, [], text)
})

t.test('every configuration of the documentation is one', async (t) => {
  const configurations = blocks('yaml').filter(({ text }) => text.startsWith('# guard.yaml\n'))
  t.ok(configurations.length > 0)
  const folder = t.testdir({})
  for (const { text } of configurations) {
    const file = path.join(folder, 'guard.yaml')
    writeFileSync(file, text)
    await t.resolves(loadConfig(file), text)
  }
})

t.test('every trust file of the documentation is one', async (t) => {
  const files = blocks('yaml').filter(({ text }) => text.startsWith('# trust.yaml\n'))
  t.ok(files.length > 0)
  const publicKey = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const folder = t.testdir({ keys: { 'training.pub': publicKey }, 'ca.pem': issue({ subject: 'authority', isAuthority: true }).certificate.toString(), 'trusted_root.json': '{}' })
  for (const { text } of files) {
    const file = path.join(folder, 'trust.yaml')
    writeFileSync(file, text)
    await t.resolves(readTrustFile(file), text)
  }
})

t.test('every TypeScript block of the documentation compiles', async (t) => {
  const folder = path.join(root, '.tap', 'documentation')
  mkdirSync(folder, { recursive: true })
  const files = blocks('ts').map(({ source, text }, index) => {
    const file = path.join(folder, `${path.basename(source, '.md')}-${index}.ts`)
    writeFileSync(file, text)
    return file
  })
  t.ok(files.length > 0)
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) => readFileSync(file, 'utf8')).config, ts.sys, root)
  const program = ts.createProgram(files, { ...options, noEmit: true, rootDir: root, incremental: false })
  t.same(ts.getPreEmitDiagnostics(program).map(({ messageText, file }) => `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`), [])
})

t.test('every command of the documentation exists', async (t) => {
  const verbs = new Set<string>()
  for (const { text } of blocks('sh')) for (const [, verb = ''] of text.matchAll(/^model-guard (\w+ [\w-]+)/gm)) verbs.add(verb)
  t.ok(verbs.size > 0)
  const { stderr } = await run(process.execPath, [path.join(root, 'dist', 'src', 'cli', 'main.js')])
  for (const verb of verbs) t.match(stderr, `model-guard ${verb} `)
})

/** The code blocks of this language in the README and the docs. */
function blocks (language: string): { source: string, text: string }[] {
  const docs = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => path.join('docs', name))
  return ['README.md', ...docs].flatMap((source) =>
    Array.from(readFileSync(path.join(root, source), 'utf8').matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms')), ([, text = '']) => ({ source, text })))
}
