// npm test                     types, lint, every test on a real Redis, and the rule of full coverage
// npm test -- test/a.test.ts   types and these tests alone
// FMG_PEERS=all npm test       also builds the peers that take many minutes
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { install, installed } from './debian.js'
import { startRedis } from './redis.js'
import { build, run, testsIn } from './run.js'
import { buildVault, vaultProgram } from './vault.js'

const tap = 'node_modules/tap/dist/esm/run.mjs'
const named = process.argv.slice(2).map((file) => file.replace(/^(\.\/)?(test\/.*)\.ts$/, 'dist/$2.js'))

/** @returns {Promise<number>} exit status */
async function main () {
  const checked = await build() || (named.length > 0 ? 0 : await run(['node_modules/eslint/bin/eslint.js', '.']))
  return checked || await preparePlugins() || await test()
}

/**
 * The plugins of `.taprc` are compiled into tap, once after every install.
 * @returns {Promise<number>} exit status
 */
async function preparePlugins () {
  try {
    const wanted = output([tap, 'plugin', 'list'])
    const built = output(['--input-type=module', '-e', "import t from 'tap'; console.log(t.pluginSignature)"])
    if (wanted === built) return 0
  } catch {
    // A tap that cannot even start is one to build.
  }
  return await run([tap, 'build'])
}

/**
 * @param {string[]} args
 * @returns {string}
 */
function output (args) {
  return execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
}

/** @returns {Promise<number>} exit status */
async function test () {
  // Their tests skip themselves, and say so, where they cannot be had.
  if (installed(['nginx']) === undefined) install('nginx')
  if (!existsSync('/usr/share/gocode/src/golang.org/x/mod')) install('golang-golang-x-mod-dev')
  if (spawnSync('softhsm2-util', ['--version']).status !== 0) install('softhsm2')
  if (spawnSync('pkcs11-tool').error !== undefined) install('opensc')
  if (spawnSync('strace', ['-V']).status !== 0) install('strace')
  if (spawnSync('go', ['version']).status !== 0) install('golang-go')
  if (process.env.FMG_PEERS === 'all' && vaultProgram() === undefined) buildVault()
  const redis = await startRedis()
  try {
    const files = named.length > 0 ? named : testsIn('dist/test')
    const options = [`--jobs=${availableParallelism()}`, `--reporter=${process.stdout.isTTY ? 'base' : 'min'}`]
    if (named.length > 0) options.push('--disable-coverage')
    const status = await run([tap, ...options, ...files], { REDIS_URL: redis.url })
    if (status === 0) console.log(`${files.length} test files passed`)
    return status
  } finally {
    await redis.stop()
  }
}

process.exitCode = await main().catch((error) => {
  console.error(error instanceof Error ? error.message : error)
  return 1
})
