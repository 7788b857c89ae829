import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { writeFileAtomic } from '../files.ts'
import { defaultConfig, loadConfig, type ServerConfig } from '../server/config.ts'
import { runDemo } from '../server/demo.ts'
import { exampleImage } from '../server/example-model.ts'
import { runServer, stopServer, type RunningServer } from '../server/run-server.ts'
import { UsageError, type Arguments } from './command.ts'

/** The reference server, as these arguments of `serve` say. */
export async function serveReference (args: Arguments): Promise<boolean> {
  const file = args.text('config')
  const config = withPort(file === undefined ? defaultConfig : await loadConfig(file), args.text('port'))
  return args.has('demo') ? await demo(config) : await serveUntilStopped(config)
}

function withPort (config: ServerConfig, port: string | undefined): ServerConfig {
  if (port === undefined) return config
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) throw new UsageError('--port is a number from 0 to 65535')
  return { ...config, listen: { ...config.listen, port: Number(port) } }
}

/** A folder of its own, so that the walk finds what it expects and leaves the server's data alone. */
async function demo (config: ServerConfig): Promise<boolean> {
  const data = await mkdtemp(path.join(tmpdir(), 'model-guard-demo-'))
  try {
    return await runDemo({ ...config, data, policy: undefined, decisionPoint: undefined, limits: defaultConfig.limits, keys: defaultConfig.keys, audit: { ...config.audit, signer: undefined }, models: { ...config.models, keys: undefined, trustFile: undefined }, clientCertificates: undefined, listen: { ...config.listen, host: '127.0.0.1', port: 0, tls: undefined } }, console.log)
  } finally {
    await rm(data, { recursive: true, force: true })
  }
}

async function serveUntilStopped (config: ServerConfig): Promise<boolean> {
  const stopped = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  const server = await runServer(config, { level: 'warn' })
  console.log(await greeting(server))
  await stopped
  await stopServer(server.app)
  return true
}

/** Where it listens, the first keys, and three lines to try it with. */
async function greeting ({ url, data, firstKeys }: RunningServer): Promise<string> {
  const shown = firstKeys !== null && process.stdout.isTTY
  const lines = [`listening on ${url}, data in ${data.root}`, '']
  if (shown) lines.push(`administrator's key  ${firstKeys.admin}`, `analyst's key        ${firstKeys.analyst}`, 'They are shown this once.', '')
  if (firstKeys !== null && !shown) {
    await writeFileAtomic(data.firstKeys, `${JSON.stringify(firstKeys, null, 2)}\n`)
    lines.push(`The first keys are in ${data.firstKeys}.`, '')
  }
  const key = firstKeys?.analyst ?? '$FMG_KEY'
  return [...lines, ...await tryIt(url, shown || firstKeys === null ? key : `$(node -p "require('${path.resolve(data.firstKeys)}').analyst")`)].join('\n')
}

async function tryIt (url: string, key: string): Promise<string[]> {
  const { request, label } = await exampleImage(3)
  return [
    '# a stranger is refused (401)',
    `curl -i ${url}/v2/models/digits`,
    `# an analyst gets a prediction (label ${label})`,
    `curl -i ${url}/v2/models/digits/infer -H "x-api-key: ${key}" -d '${JSON.stringify(request)}'`,
    '# but may not read the list of keys (403)',
    `curl -i ${url}/admin/keys -H "x-api-key: ${key}"`,
    ''
  ]
}
