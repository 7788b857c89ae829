import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import type { Test } from 'tap'

/** The Cerbos of this platform, from npm; `undefined` where there is none. */
export function findCerbos (): string | undefined {
  const { resolve } = createRequire(import.meta.url)
  try {
    return resolve(`@cerbos/cerbos-${process.platform}-${process.arch}`)
  } catch {
    return undefined
  }
}

/** A port that was free a moment ago. */
export async function freePort (): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A Cerbos with the policies of this folder, until the test ends. Gives its URL once it answers. */
export async function startCerbos (t: Test, program: string, policies: string): Promise<string> {
  const [http, grpc] = [await freePort(), await freePort()]
  const settings = [
    `server.httpListenAddr=127.0.0.1:${http}`, `server.grpcListenAddr=127.0.0.1:${grpc}`, 'telemetry.disabled=true', 'storage.driver=disk', `storage.disk.directory=${policies}`
  ]
  const child = spawn(program, ['server', ...settings.map((setting) => `--set=${setting}`)], { stdio: ['ignore', 'pipe', 'pipe'], env: { CERBOS_NO_TELEMETRY: '1' } })
  t.teardown(() => { child.kill('SIGKILL') })
  let log = ''
  const ended = once(child, 'exit').then(() => { throw new Error(`Cerbos ended:\n${log}`) })
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { log += text })
  const url = `http://127.0.0.1:${http}`
  await Promise.race([answers(`${url}/_cerbos/health`), ended])
  ended.catch(() => undefined)
  return url
}

async function answers (url: string): Promise<void> {
  for (;;) {
    const isUp = await fetch(url).then(({ ok }) => ok, () => false)
    if (isUp) return
    await new Promise((resolve) => { setImmediate(resolve) })
  }
}
