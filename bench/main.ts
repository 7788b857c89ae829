// npm run bench -- NAME [--json] [--rounds N] [--seconds N] [--mb N]
import { parseArgs } from 'node:util'
import { audit } from './audit.ts'
import { anomaly } from './anomaly.ts'
import { authn } from './authn.ts'
import { authz } from './authz.ts'
import type { Bench } from './bench.ts'
import { health } from './health.ts'
import { http } from './http.ts'
import { limits } from './limits.ts'
import { load } from './load.ts'
import { model } from './model.ts'

const benches: Readonly<Record<string, Bench>> = { anomaly, http, authn, authz, audit, health, limits, load, model }
const minRounds = 1
const defaultRounds = '7'
const defaultSeconds = '3'
const defaultMegabytes = '1024'

/** @returns exit status: 0, or 2 when there is no such bench. */
async function main (): Promise<number> {
  const { values, positionals: [name = ''] } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, rounds: { type: 'string', default: defaultRounds }, seconds: { type: 'string', default: defaultSeconds }, mb: { type: 'string', default: defaultMegabytes } }
  })
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined
  const [rounds, seconds, megabytes] = [Number(values.rounds), Number(values.seconds), Number(values.mb)]
  if (bench === undefined || !(rounds >= minRounds) || !(seconds > 0) || !(megabytes >= 1)) {
    console.error(usage())
    return 2
  }
  const { ratios, details, text } = await bench.run({ rounds, seconds, megabytes, progress: (line) => { console.error(line) } })
  console.log(values.json === true ? JSON.stringify({ bench: name, node: process.version, ratios, rounds, seconds, ...details }) : text)
  return 0
}

function usage (): string {
  return ['npm run bench -- NAME [--json] [--rounds N] [--seconds N] [--mb N]', ...Object.entries(benches).map(([name, { title }]) => `  ${name.padEnd(8)} ${title}`)].join('\n')
}

// Ending by `exit` lets every server that was started be ended too.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => { process.exit(1) })

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  return 1
})
