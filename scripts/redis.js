import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
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
 * A Redis of one's own on a free loopback port, which keeps nothing on disk; also gone when this process ends.
 * @param {number} [wantedPort] Where another has been, whose clients are to find this one.
 * @returns {Promise<RunningRedis & { pid: number, port: number }>} `pid`, so that a test can pause or kill it.
 */
export async function startPrivateRedis (wantedPort) {
  const program = findProgram()
  const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-redis-'))
  const port = wantedPort ?? await freePort()
  const child = spawn(program, ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder])
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

/** @returns {Promise<number>} */
function freePort () {
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
      if (log.includes('eady to accept connections')) resolve()
    })
    child.once('error', reject)
    child.once('close', (code) => { reject(new Error(`Redis ended with status ${code}:\n${log}`)) })
  })
}
