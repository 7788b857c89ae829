import { spawn } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import path from 'node:path'

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()

// Ending by `exit` lets every listener for it clean up: nothing that was started outlives this process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1))
process.once('exit', () => { for (const child of running) child.kill() })

/**
 * Runs a program of Node on this terminal.
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>} its exit status
 */
export function run (args, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...env } })
    running.add(child)
    child.once('close', (code) => {
      running.delete(child)
      resolve(code ?? 1)
    })
  })
}

/**
 * Type check and JavaScript in a fresh `dist/`: a test whose source is gone must not go on passing.
 * @returns {Promise<number>} exit status
 */
export async function build () {
  rmSync('dist', { recursive: true, force: true })
  return await run(['node_modules/typescript7/bin/tsc', '-p', '.'])
}

/**
 * @param {string} folder
 * @returns {string[]} every compiled test below it
 */
export function testsIn (folder) {
  const names = readdirSync(folder, { encoding: 'utf8', recursive: true })
  return names.filter((name) => name.endsWith('.test.js')).sort().map((name) => path.join(folder, name))
}
