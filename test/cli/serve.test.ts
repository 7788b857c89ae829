import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { command, modelGuard, run } from '../helpers/command.ts'

interface Serving {
  readonly child: ChildProcess
  /** All that it printed when it was ready. */
  readonly greeting: string
  /** Sends SIGINT, as Ctrl-C does, and gives exit status and milliseconds. */
  interrupt (): Promise<{ status: number | null, ms: number }>
}

async function serve (t: Test, folder: string, program = process.execPath, words: readonly string[] = [command, 'serve', '--port', '0', '--config', path.join(folder, 'guard.yaml')]): Promise<Serving> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], cwd: folder })
  t.teardown(() => child.kill('SIGKILL'))
  let greeting = ''
  child.stdout.setEncoding('utf8')
  for await (const text of child.stdout.iterator({ destroyOnReturn: false })) {
    greeting += String(text)
    if (/\/admin\/keys/.test(greeting)) break
  }
  child.stdout.resume()
  return {
    child,
    greeting,
    async interrupt () {
      const begun = Date.now()
      child.kill('SIGINT')
      const [status] = await once(child, 'exit') as [number | null]
      return { status, ms: Date.now() - begun }
    }
  }
}

/** Runs the three printed lines as they stand; gives the status of each answer, and all they printed. */
async function runLines (greeting: string, env: NodeJS.ProcessEnv = {}): Promise<{ statuses: number[], text: string }> {
  const answers: string[] = []
  for (const line of greeting.split('\n').filter((line) => line.startsWith('curl '))) answers.push((await run('sh', ['-c', line], { env: { ...process.env, ...env } })).stdout)
  return { statuses: answers.map((text) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])), text: answers.join('\n') }
}

t.test('the first start makes data, keys and lines that work; later starts ask for the key', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'data: ./data\n' })
  const data = path.join(folder, 'data')
  const first = await serve(t, folder)
  t.notMatch(first.greeting, /fmg_live_/, 'keys are not printed where nobody may be watching')
  const file = path.join(data, 'first-keys.json')
  t.match(first.greeting, `The first keys are in ${file}.`)
  const keys = JSON.parse(readFileSync(file, 'utf8')) as { admin: string, analyst: string }
  t.match(keys, { admin: /^fmg_live_/, analyst: /^fmg_live_/ })
  for (const entry of readdirSync(data, { recursive: true, withFileTypes: true })) {
    const { mode } = statSync(path.join(entry.parentPath, entry.name))
    const isSecret = entry.parentPath.includes('secrets') || /keys/.test(entry.name)
    if (isSecret && !entry.name.endsWith('.pub')) t.equal(mode & 0o077, 0, `${entry.name} is its owner's`)
    if (entry.parentPath === data && entry.isDirectory() && entry.name !== 'models') t.equal(mode & 0o777, 0o700, entry.name)
  }
  const { statuses, text } = await runLines(first.greeting)
  t.same(statuses, [401, 200, 403])
  t.match(text, /"data":\[3\]/)
  t.match(text, /www-authenticate: Bearer/i)
  const { status, ms } = await first.interrupt()
  t.equal(status, 0)
  t.ok(ms < 5000, `${ms} ms`)

  const second = await serve(t, folder)
  t.notMatch(second.greeting, /first keys/)
  t.match(second.greeting, /x-api-key: \$FMG_KEY/)
  t.same((await runLines(second.greeting, { FMG_KEY: keys.analyst })).statuses, [401, 200, 403])
  t.equal((await second.interrupt()).status, 0)
  t.match(await modelGuard('audit', 'verify', path.join(data, 'audit'), '--verifier-key', path.join(data, 'audit.vkey')), { status: 0, stdout: /^the log holds: \d+ records, \d+ under the checkpoint, its signature verified\nunwitnessed/ })
})

t.test('on a terminal the first keys are shown, once, and kept nowhere', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'data: ./data\n' })
  const server = await serve(t, folder, 'script', ['-qec', `exec ${process.execPath} ${command} serve --port 0 --config guard.yaml`, '/dev/null'])
  t.match(server.greeting, /administrator's key {2}fmg_live_\S+\r?\nanalyst's key {8}fmg_live_\S+\r?\nThey are shown this once\./)
  t.notOk(existsSync(path.join(folder, 'data', 'first-keys.json')))
  t.same((await runLines(server.greeting.replaceAll('\r', ''))).statuses, [401, 200, 403])
  const ended = once(server.child, 'exit')
  server.child.stdin?.write('\x03')
  t.same(await ended, [0, null], 'Ctrl-C on the terminal ends it')
})

t.test('the demonstration shows every step', async (t) => {
  const { status, stdout } = await modelGuard('serve', '--demo')
  t.equal(status, 0)
  t.match(stdout, /^1\. .*\n {3}401 .*www-authenticate: Bearer.*\n2\. .*\n {3}200, the image shows 3 and so says the model\n3\. .*\n {3}403 .*\n4\. .*\n {3}429 .*at request 11, retry-after: \d+ s\n5\. .*\n {3}FMG_ERR_MODEL_TAMPERED: .*\n6\. .*\n {3}\d+ records, every one under the checkpoint, its signature verified\n$/)
})

t.test('the demonstration fails when a step does', async (t) => {
  const file = path.join(t.testdir({}), 'guard.yaml')
  writeFileSync(file, 'mode: observe\n')
  const { status, stdout } = await modelGuard('serve', '--demo', '--config', file)
  t.equal(status, 1)
  t.match(stdout, /1\. .*\n {3}FAILED: Error: status \d+ instead of 401/)
})

t.test('a log that was changed is found out, and the record named', async (t) => {
  const folder = t.testdir({ 'guard.yaml': 'data: ./data\n' })
  const server = await serve(t, folder)
  await runLines(server.greeting)
  await server.interrupt()
  const audit = path.join(folder, 'data', 'audit')
  const vkey = path.join(folder, 'data', 'audit.vkey')
  const saved = path.join(folder, 'checkpoint')
  writeFileSync(saved, readFileSync(path.join(audit, 'checkpoint')))
  t.match(await modelGuard('audit', 'verify', audit, '--verifier-key', vkey, '--since', saved), { status: 0, stdout: /it continues the checkpoint kept elsewhere, of \d+ records/ })
  t.match(await modelGuard('audit', 'verify', audit), { status: 0, stdout: /its signature not checked/ })
  const segment = path.join(audit, 'segments', readdirSync(path.join(audit, 'segments'))[0] ?? '')
  const whole = readFileSync(segment, 'utf8')
  writeFileSync(segment, whole.replace('"status":"denied"', '"status":"success"'))
  t.match(await modelGuard('audit', 'verify', audit, '--verifier-key', vkey), { status: 1, stdout: /^the log does NOT hold[\s\S]*record \d+: / })
  t.match(JSON.parse((await modelGuard('audit', 'verify', audit, '--json')).stdout), { ok: false })
  writeFileSync(segment, `${whole}{"torn`)
  t.match(await modelGuard('audit', 'verify', audit), { status: 0, stdout: /6 bytes of a record that was being written follow the last/ })
  rmSync(path.join(audit, 'checkpoint'))
  t.match(await modelGuard('audit', 'verify', audit), { status: 1, stdout: /the checkpoint is missing\n/ })
  t.match(await modelGuard('audit', 'verify', audit, '--verifier-key', path.join(folder, 'none')), { status: 1, stderr: /FMG_ERR_FILE: cannot read/ })
})

t.test('a configuration that is wrong does not start, and says where', async (t) => {
  const cases: [string, RegExp][] = [
    ['listn: {}\n', /guard\.yaml\.listn is not an option; did you mean listen\?/],
    ['limits: { defaultTier: x, tiers: {} }\n', /guard\.yaml\.limits\.defaultTier/],
    ['a: 1\na: 2\n', /guard\.yaml: Map keys must be unique/],
    ['listen: { host: 0.0.0.0 }\n', /FMG_ERR_LISTENER_INSECURE/],
    ['policy: none.yaml\n', /none\.yaml/]
  ]
  for (const [text, message] of cases) {
    const folder = t.testdir({ 'guard.yaml': text })
    const { status, stderr } = await modelGuard('serve', '--port', '0', '--config', path.join(folder, 'guard.yaml'))
    t.equal(status, 1, text)
    t.match(stderr, message)
  }
  t.match(await modelGuard('serve', '--config', 'none.yaml'), { status: 1, stderr: /FMG_ERR_FILE: cannot read none\.yaml/ })
})
