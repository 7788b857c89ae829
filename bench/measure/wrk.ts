import { execFile, spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { loadCore, pinned } from './cpu.ts'
import type { Load, LoadResult } from './sample.ts'

const run = promisify(execFile)

/** What the servers are asked: identities and bodies in turn. */
export interface TokenLoad {
  readonly connections: number
  readonly path: string
  /** A value of `authorization` a line. */
  readonly credentialsFile: string
  /** A JSON body a line. */
  readonly bodiesFile: string
  /** Where the script is written. */
  readonly folder: string
}

// One request an identity, made before the clock runs; then all of them in turn.
const script = `
local requests, turn = {}, 0

function init (args)
  local nextBody = io.lines(args[3])
  for credential in io.lines(args[2]) do
    local headers = { ['content-type'] = 'application/json', authorization = credential }
    requests[#requests + 1] = wrk.format('POST', args[1], headers, nextBody())
  end
end

function request ()
  turn = turn % #requests + 1
  return requests[turn]
end

function done (summary, latency)
  local errors = summary.errors
  io.write(string.format('\\n{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d,"p50":%f,"p99":%f}',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
`

/** @throws an Error that says how to get wrk, where it is not installed. */
export function checkWrk (): void {
  // Its version comes with exit status 1.
  if (spawnSync('wrk', ['--version']).error !== undefined) throw new Error('this bench needs the load generator wrk: apt-get install wrk')
}

/** Load over connections that stay open, by one thread on the load's core. */
export function wrkLoad (load: TokenLoad, redisPid?: number): Load {
  return { generate: async (url, seconds) => await wrk(url, load, seconds), redisPid }
}

async function wrk (url: string, load: TokenLoad, seconds: number): Promise<LoadResult> {
  const file = path.join(load.folder, 'load.lua')
  await writeFile(file, script)
  const args = ['-t1', `-c${load.connections}`, `-d${seconds}s`, '-s', file, url, '--', load.path, load.credentialsFile, load.bodiesFile]
  const { stdout } = await run(...pinned(loadCore, 'wrk', args))
  const result = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<'requests' | 'microseconds' | 'refused' | 'broken' | 'p50' | 'p99', number>
  const { requests, microseconds, refused, broken, p50, p99 } = result
  return { requests, requestsPerSecond: requests / microseconds * 1e6, p50Ms: p50 / 1000, p99Ms: p99 / 1000, failed: refused + broken }
}
