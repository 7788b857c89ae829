import { spawnSync } from 'node:child_process'

/**
 * The first of these programs that is there.
 * @param {readonly string[]} programs
 * @returns {string | undefined}
 */
export function installed (programs) {
  return programs.find((program) => spawnSync(program, ['-v']).status === 0)
}

/**
 * Installs a package where that is possible: on Debian and its kin, as root. Says nothing when it is not: look for the program afterwards.
 * @param {string} name also that of its service, which nobody asked for and which is stopped
 */
export function install (name) {
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) return
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  for (const args of [['update'], ['install', '-y', name]]) spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 2, 2] })
  spawnSync('service', [name, 'stop'])
}
