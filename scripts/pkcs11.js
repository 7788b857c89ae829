import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'

const version = '2.1.7'
const modules = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so', '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so', '/usr/local/lib/softhsm/libsofthsm2.so', '/opt/homebrew/lib/softhsm/libsofthsm2.so']

/**
 * The package pkcs11js, in a folder of its own outside of the repository that is made once a machine: who installs this one needs no compiler.
 * @returns {unknown} what it exports; `undefined` where it cannot be had or built
 */
export function pkcs11js () {
  const folder = path.join(tmpdir(), `model-guard-pkcs11-${process.getuid?.() ?? 0}-${version}-${process.versions.napi ?? ''}`)
  const complete = path.join(folder, 'complete')
  if (!existsSync(complete)) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { pkcs11js: true } }))
    const { status } = spawnSync('npm', ['install', '--prefix', folder, '--no-audit', '--no-fund', `pkcs11js@${version}`], { stdio: 'ignore', timeout: 300_000 })
    if (status !== 0) return undefined
    writeFileSync(complete, '')
  }
  try {
    return createRequire(path.join(folder, 'package.json'))('pkcs11js')
  } catch {
    return undefined
  }
}

/** @returns {string | undefined} the module of SoftHSM2, where it is installed */
export function softHsm () {
  return spawnSync('softhsm2-util', ['--version']).status === 0 ? modules.find((file) => existsSync(file)) : undefined
}
