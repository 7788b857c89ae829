// npm run check:package        what others would install: packed, looked over, installed elsewhere and used
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

const modelGuard = readPackage('.')
const subpaths = Object.keys(modelGuard.exports).filter((subpath) => !subpath.endsWith('.json'))

/** The server of a user who read no further than the first page, once for every way to load a package. */
const use = (/** @type {string} */ load) => `
const policy = { id: 'everyone', decide: () => ({ allowed: true, rule: 'everyone', reason: 'rule' }) }

async function use () {
  for (const name of ${JSON.stringify(subpaths.map(nameOf))}) if (Object.keys(await (${load})(name)).length === 0) throw new Error(name + ' exports nothing')
  const { default: Fastify } = await (${load})('fastify')
  const { default: modelGuard } = await (${load})('fastify-model-guard')
  const { asPrincipal, testAuthenticator } = await (${load})('fastify-model-guard/testing')
  const app = Fastify()
  await app.register(modelGuard, { authenticate: { authenticators: [testAuthenticator()] }, authorize: { policy } })
  app.get('/', { config: { access: 'authenticated' } }, async (request) => request.principal.id)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const statuses = [{}, asPrincipal({ id: 'ann' })].map(async (request) => (await fetch(url, request)).status)
  console.log(String(await Promise.all(statuses)))
  await app.close()
}

use().catch((error) => {
  console.error(error)
  process.exit(1)
})`

const programs = {
  'import.mjs': use('(name) => import(name)'),
  'require.cjs': use('require')
}

/** @param {string} folder */
function check (folder) {
  const tarball = pack(folder)
  step('publint', 'nothing to say about package.json, warnings included', tool('publint', 'run', '--strict', '--pack', 'false', tarball))
  step('types', 'resolve wherever ES modules do', tool('@arethetypeswrong/cli', '--profile', 'esm-only', '--no-emoji', tarball))
  const installed = install(folder, tarball)
  for (const program of Object.keys(programs)) {
    const statuses = command(process.execPath, [program], installed).trim()
    step(path.parse(program).name, `${subpaths.map(nameOf).join(', ')}; a stranger is refused, a principal is answered`, statuses === '401,200' || statuses)
  }
  command(process.execPath, [path.join('node_modules', 'fastify-model-guard', modelGuard.bin['model-guard']), '--help'], installed)
  step('command', 'model-guard --help', true)
}

/**
 * @param {string} folder
 * @returns {string} the packed package
 */
function pack (folder) {
  const printed = npm(['pack', '--json', '--pack-destination', folder], '.')
  // The build may print before it; npm 12 gives an object of packages where others gave a list.
  const [packed] = Object.values(JSON.parse(/^[[{]\n[^]*/m.exec(printed)?.[0] ?? '[]'))
  const size = `${Math.round(packed.size / 1000)} kB, ${Math.round(packed.unpackedSize / 1000)} kB unpacked`
  const paths = packed.files.map((/** @type {{ path: string }} */ { path }) => path)
  step('packed', `${packed.filename}, ${paths.length} files, ${size}`, withoutSource(paths).length === 0 || `their source is gone: ${withoutSource(paths).join(', ')}; remove dist/`)
  return path.join(folder, packed.filename)
}

/**
 * What an earlier build left behind is packed like everything else.
 * @param {string[]} paths
 * @returns {string[]}
 */
function withoutSource (paths) {
  return paths.filter((file) => file.startsWith('dist/') && file.endsWith('.js') && !paths.includes(file.replace(/^dist\/(.*)\.js$/, '$1.ts')))
}

/**
 * @param {string} folder
 * @param {string} tarball
 * @returns {string} a folder of nothing but the package and its required peer
 */
function install (folder, tarball) {
  const user = path.join(folder, 'user')
  mkdirSync(user)
  const dependencies = { fastify: modelGuard.peerDependencies.fastify, 'fastify-model-guard': `file:${tarball}` }
  // npm 12 runs no install script that is not listed here: that none is needed is part of the check.
  writeFileSync(path.join(user, 'package.json'), JSON.stringify({ private: true, dependencies, allowScripts: {} }))
  npm(['install', '--no-audit', '--no-fund', '--loglevel=error'], user)
  const fastify = readPackage(path.join(user, 'node_modules', 'fastify'))
  // pino comes with Fastify.
  const optional = Object.keys(modelGuard.peerDependenciesMeta).filter((name) => isInstalled(user, name) && !Object.hasOwn(fastify.dependencies ?? {}, name))
  const versions = `fastify ${fastify.version}, npm ${npm(['--version'], user).trim()}, node ${process.version}`
  step('installed', `beside ${versions}, without ${Object.keys(modelGuard.peerDependenciesMeta).join(' and ')}`, optional.length === 0 || `installed although optional: ${String(optional)}`)
  for (const [name, text] of Object.entries(programs)) writeFileSync(path.join(user, name), text)
  return user
}

/**
 * Prints one line of what was checked.
 * @param {string} name
 * @param {string} text
 * @param {true | unknown} holds anything but `true` is what was seen instead
 */
function step (name, text, holds) {
  if (holds !== true) throw new Error(`${name}: ${String(holds)}`)
  console.log(`${name.padEnd(10)} ${text}`)
}

/**
 * Runs a development tool of this repository.
 * @param {string} name
 * @param {string[]} args
 * @returns {true} or throws with what it printed
 */
function tool (name, ...args) {
  const folder = path.join('node_modules', name)
  const [bin = ''] = Object.values(readPackage(folder).bin)
  command(process.execPath, [path.join(folder, bin), ...args], '.')
  return true
}

/**
 * @param {string[]} args
 * @param {string} cwd
 * @returns {string} what it printed
 */
function npm (args, cwd) {
  return command('npm', args, cwd)
}

/**
 * @param {string} program
 * @param {string[]} args
 * @param {string} cwd
 * @returns {string} what it printed
 */
function command (program, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 26 })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${path.basename(program)} ${args.join(' ')}: exit status ${String(status)}\n${stdout}${stderr}`)
  return stdout
}

/** @param {string} subpath as `exports` has it */
function nameOf (subpath) {
  return path.posix.join('fastify-model-guard', subpath)
}

/**
 * @param {string} folder
 * @param {string} name
 * @returns {boolean}
 */
function isInstalled (folder, name) {
  try {
    readPackage(path.join(folder, 'node_modules', name))
    return true
  } catch {
    return false
  }
}

/**
 * @param {string} folder
 * @returns {any} its package.json
 */
function readPackage (folder) {
  return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))
}

const folder = mkdtempSync(path.join(tmpdir(), 'model-guard-package-'))
try {
  check(folder)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
