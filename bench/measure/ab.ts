import { execFile, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { loadCore, pinned } from './cpu.ts'
import type { Load, LoadResult } from './sample.ts'

const run = promisify(execFile)

/** What a server is asked over connections that present one client certificate each. */
export interface CertificateLoad {
  readonly connections: number
  readonly path: string
  /** The client's certificate and its key, PEM. */
  readonly certificateFile: string
  /** One JSON body. */
  readonly bodyFile: string
  /** Where results are written. */
  readonly folder: string
}

/** @throws an Error that says how to get ab, where it is not installed. */
export function checkAb (): void {
  if (spawnSync('ab', ['-V']).error !== undefined) throw new Error('this bench needs the load generator ab: apt-get install apache2-utils')
}

/** Load over TLS connections that stay open, from the load's core: wrk presents no certificates. */
export function abLoad (load: CertificateLoad): Load {
  return { generate: async (url, seconds) => await ab(url, load, seconds) }
}

async function ab (url: string, { connections, path: asked, certificateFile, bodyFile, folder }: CertificateLoad, seconds: number): Promise<LoadResult> {
  const percentiles = path.join(folder, 'ab.csv')
  const args = ['-q', '-k', '-c', `${connections}`, '-t', `${seconds}`, '-n', '10000000', '-E', certificateFile, '-p', bodyFile, '-T', 'application/json', '-e', percentiles, url + asked]
  const { stdout } = await run(...pinned(loadCore, 'ab', args))
  const number = (name: string): number => Number(new RegExp(`^${name}:\\s+([\\d.]+)`, 'm').exec(stdout)?.[1] ?? 0)
  const requests = number('Complete requests')
  const lines = (await readFile(percentiles, 'utf8')).split('\n')
  const percentileMs = (percent: number): number => Number(lines.find((line) => line.startsWith(`${percent},`))?.split(',')[1])
  // One that a connection was closed under is neither: ab opens another.
  return { requests, requestsPerSecond: requests / number('Time taken for tests'), p50Ms: percentileMs(50), p99Ms: percentileMs(99), failed: number('Failed requests') + number('Non-2xx responses') }
}
