import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { install, installed } from './debian.js'

const programs = ['redis-server', 'valkey-server']

/**
 * A Redis that runs until it is stopped.
 * @typedef {object} RunningRedis
 * @property {string} url
 * @property {() => Promise<void>} stop
 */

/**
 * A real Redis for tests and benches: the one that `REDIS_URL` names, else a private one on loopback.
 * @returns {Promise<RunningRedis>}
 */
export async function startRedis () {
  const url = process.env.REDIS_URL
  return url ? { url, stop: async () => {} } : await startPrivateRedis()
}

/**
 * @typedef {RunningRedis & { pid: number, port: number }} PrivateRedis `pid`, so that a test can pause or kill it.
 */

/**
 * A Redis of one's own on a free loopback port, which keeps nothing on disk; also gone when this process ends.
 * @param {number} [wantedPort] Where another has been, whose clients are to find this one.
 * @param {readonly string[]} [options] Further ones of redis-server.
 * @returns {Promise<PrivateRedis>}
 */
export async function startPrivateRedis (wantedPort, options = []) {
  const port = wantedPort ?? await freePort()
  return await startProgram(port, ['--port', `${port}`, '--save', '', '--appendonly', 'no', ...options])
}

/**
 * A Redis Cluster of three primaries on loopback, which has all slots and answers.
 * @returns {Promise<{ addresses: string[], nodes: PrivateRedis[], stop: () => Promise<void> }>}
 */
export async function startRedisCluster () {
  const nodes = await Promise.all([1, 2, 3].map(async () => {
    // The bus listens 10,000 ports above, where there must be one.
    const port = 20_000 + await freePort() % 10_000
    return await startPrivateRedis(port, ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'])
  }))
  const share = Math.ceil(16_384 / nodes.length)
  for (const [index, { port }] of nodes.entries()) {
    await command(port, 'CLUSTER', 'ADDSLOTSRANGE', `${index * share}`, `${Math.min(16_384, (index + 1) * share) - 1}`)
    await command(port, 'CLUSTER', 'SET-CONFIG-EPOCH', `${index + 1}`)
  }
  for (const { port } of nodes.slice(1)) await command(nodes[0]?.port ?? 0, 'CLUSTER', 'MEET', '127.0.0.1', `${port}`)
  await Promise.all(nodes.map(async ({ port }) => await answers(port, /cluster_state:ok[^]*cluster_known_nodes:3/, 'CLUSTER', 'INFO')))
  return { addresses: nodes.map(({ port }) => `127.0.0.1:${port}`), nodes, stop: async () => { await Promise.all(nodes.map(({ stop }) => stop())) } }
}

/**
 * A primary, its replica, and three Sentinels that know both and call them `primary`.
 * @returns {Promise<{ addresses: string[], primary: PrivateRedis, replica: PrivateRedis, stop: () => Promise<void> }>}
 */
export async function startSentinels () {
  const primary = await startPrivateRedis(undefined, ['--repl-diskless-sync-delay', '0'])
  const replica = await startPrivateRedis(undefined, ['--replicaof', '127.0.0.1', `${primary.port}`, '--repl-diskless-sync-delay', '0'])
  await answers(replica.port, /master_link_status:up/, 'INFO', 'replication')
  const sentinels = await Promise.all([1, 2, 3].map(async () => {
    const port = await freePort()
    return await startProgram(port, [
      '--sentinel', '--port', `${port}`, '--sentinel', 'monitor', 'primary', '127.0.0.1', `${primary.port}`, '2',
      '--sentinel', 'down-after-milliseconds', 'primary', '500', '--sentinel', 'failover-timeout', 'primary', '5000'
    ])
  }))
  for (const { port } of sentinels) await answers(port, /slaves=1,sentinels=3/, 'INFO', 'sentinel')
  return {
    addresses: sentinels.map(({ port }) => `127.0.0.1:${port}`),
    primary,
    replica,
    stop: async () => { await Promise.all([...sentinels, primary, replica].map(({ stop }) => stop())) }
  }
}

/**
 * Asks until the answer fits.
 * @param {number} port
 * @param {RegExp} pattern
 * @param {readonly string[]} words
 */
async function answers (port, pattern, ...words) {
  for (;;) if (pattern.test(await command(port, ...words))) return
}

/**
 * What a server on loopback says to one command, as it says it.
 * @param {number} port
 * @param {readonly string[]} words
 * @returns {Promise<string>}
 */
async function command (port, ...words) {
  return await new Promise((resolve, reject) => {
    let answer = ''
    connect(port, '127.0.0.1')
      .setEncoding('utf8').on('data', (text) => { answer += text }).once('error', reject).once('close', () => {
        if (answer.startsWith('-')) reject(new Error(`${words.join(' ')}: ${answer}`))
        else resolve(answer)
      })
      .end(`${[words, ['QUIT']].map((line) => line.join(' ')).join('\r\n')}\r\n`)
  })
}

/**
 * @param {number} port
 * @param {readonly string[]} options
 * @returns {Promise<PrivateRedis>}
 */
async function startProgram (port, options) {
  const program = findProgram()
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-redis-'))
  // Sentinels write what they learn into their configuration.
  const file = path.join(folder, 'redis.conf')
  writeFileSync(file, '')
  const child = spawn(program, [file, '--bind', '127.0.0.1', '--dir', folder, ...options])
  const gone = new Promise((resolve) => child.once('close', resolve))
  const clean = () => {
    // Not SIGTERM: a test may have paused it, and there is nothing to save.
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  const stop = async () => {
    process.off('exit', clean)
    clean()
    await gone
  }
  process.once('exit', clean)
  try {
    await ready(child)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `redis://127.0.0.1:${port}`, port, pid: child.pid ?? 0, stop }
}

/** @returns {string} */
function findProgram () {
  const found = installed(programs)
  if (found !== undefined) return found
  install('redis-server')
  const program = installed(programs)
  if (program === undefined) throw new Error(`no Redis: install ${programs.join(' or ')}, or set REDIS_URL to one that may be written to`)
  return program
}

/**
 * A port of loopback that nobody listens on.
 * @returns {Promise<number>}
 */
export function freePort () {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => { resolve(typeof address === 'object' ? address?.port ?? 0 : 0) })
    })
  })
}

/**
 * @param {import('node:child_process').ChildProcessWithoutNullStreams} child
 * @returns {Promise<void>}
 */
function ready (child) {
  return new Promise((resolve, reject) => {
    let log = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      log += text
      // A Sentinel says no more than that it has an id.
      if (/eady to accept connections|Sentinel ID is/.test(log)) resolve()
    })
    child.once('error', reject)
    child.once('close', (code) => { reject(new Error(`Redis ended with status ${code}:\n${log}`)) })
  })
}
