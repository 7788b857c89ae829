import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { verifyLog } from '../../src/audit/verify-log.ts'
import { appendAll, openTestLog, origin, verifierKey } from '../audit/log-fixture.ts'
import { sha256 } from '../audit/merkle-by-the-book.ts'
import { run } from '../helpers/command.ts'

// go install filippo.io/torchwood/cmd/litewitness@v0.9.0
const missing = (await Promise.all([['litewitness', '-h'], ['ssh-agent', '-h'], ['ssh-keygen', '-h'], ['sqlite3', '-version']].map(async ([program = '', word = '']) =>
  await run(program, [word]).then(() => [], () => [program])))).flat()

const name = 'witness.example/litewitness'

t.test('a real witness cosigns the log, and does not cosign one that was set back', { skip: missing.length > 0 && `${missing.join(', ')} is not installed` }, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const at = (file: string): string => path.join(folder, file)
  const witnesses = [await startLitewitness(t, at)]
  const grow = async (log: string, from: number, to: number): Promise<Error[]> => {
    const errors: Error[] = []
    const opened = await openTestLog(at(log), { witnesses, onError: (error) => { errors.push(error) } })
    await appendAll(opened, from, to)
    await opened.close()
    return errors
  }
  t.same(await grow('log', 0, 7), [])
  cpSync(at('log'), at('copy'), { recursive: true })
  t.same(await grow('log', 7, 300), [])
  t.same(await grow('log', 300, 700), [])
  const keys = witnesses.map(({ verifierKey }) => verifierKey)
  t.match(await verifyLog({ directory: at('log'), verifierKey, witnesses: keys }), { ok: true, witnessedSize: 700, witnesses: [{ name, size: 700 }] })
  t.match((await grow('copy', 7, 8))[0], { code: 'FMG_ERR_LOG_INCONSISTENT', message: /has seen 700 records, this log has/ })
  t.match((await grow('copy', 1000, 1700)).at(-1), { code: 'FMG_ERR_LOG_INCONSISTENT', message: /has seen other records than the first 700 of these 708/ })
})

async function startLitewitness (t: Test, at: (file: string) => string): Promise<{ url: string, verifierKey: string }> {
  const start = (program: string, words: readonly string[]): void => {
    const child = spawn(program, words, { stdio: 'ignore' })
    t.teardown(() => { child.kill() })
  }
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at('key')])
  const [, blob = ''] = readFileSync(at('key.pub'), 'utf8').split(' ')
  const publicKey = Buffer.from(blob, 'base64').subarray(-32)
  const [fingerprint = ''] = /SHA256:\S+/.exec((await run('ssh-keygen', ['-lf', at('key.pub')])).stdout) ?? []
  start('ssh-agent', ['-D', '-a', at('agent')])
  while ((await run('ssh-add', ['-q', at('key')], { env: { ...process.env, SSH_AUTH_SOCK: at('agent') } })).status !== 0);
  t.equal((await run('sqlite3', [at('db'), `
    CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
    CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
    INSERT INTO log VALUES ('${origin}', 0, '${sha256().toString('base64')}');
    INSERT INTO key VALUES ('${origin}', '${verifierKey}');`])).status, 0)
  const port = await freePort()
  start('litewitness', ['-db', at('db'), '-key', fingerprint, '-name', name, '-listen', `127.0.0.1:${port}`, '-ssh-agent', at('agent')])
  const url = `http://127.0.0.1:${port}`
  while (!await fetch(url).then(() => true, () => false));
  const id = sha256(Buffer.from(`${name}\n`), Buffer.of(4), publicKey).subarray(0, 4)
  return { url, verifierKey: `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.of(4), publicKey]).toString('base64')}` }
}

async function freePort (): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return port
}
