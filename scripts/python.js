import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/**
 * A Python with these packages, in an environment of its own outside of the repository that is made once a machine; `undefined` where there is no Python,
 * or nowhere to get the packages from.
 * @param {readonly string[]} packages as pip is told them, with their versions
 * @returns {string | undefined} the program
 */
export function pythonWith (packages) {
  const id = createHash('sha256').update(packages.join('\n')).digest('hex').slice(0, 12)
  const folder = path.join(tmpdir(), `model-guard-python-${process.getuid?.() ?? 0}-${id}`)
  const program = path.join(folder, 'bin', 'python')
  const complete = path.join(folder, 'complete')
  if (existsSync(complete)) return program
  const steps = [['python3', '-m', 'venv', '--clear', folder], [program, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...packages]]
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  for (const [command = '', ...words] of steps) if (spawnSync(command, words, { stdio: 'ignore', timeout: 300_000 }).status !== 0) return undefined
  writeFileSync(complete, '')
  return program
}
