// npm run test:conformance     the published vectors alone, one line a suite
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { build, testsIn } from './run.js'

const folder = 'dist/test/conformance'
// What TAP says of itself; what is left are the suites' own lines.
const frame = /^\s*(TAP version \d+|ok\b.*|\d+\.\.\d+.*|\}|# Subtest.*|# \{ total.*|# time=.*|)$/

/**
 * @param {string} file
 * @returns {boolean} whether every vector held
 */
function conforms (file) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--enable-source-maps', file], { encoding: 'utf8' })
  if (status !== 0) {
    console.log(`${file}: FAILED\n${stdout}${stderr}`)
    return false
  }
  for (const line of `${stderr}\n${stdout}`.split('\n').filter((line) => !frame.test(line))) console.log(line.replace(/^\s*#?\s*/, ''))
  return true
}

const status = await build()
const held = existsSync(folder) ? testsIn(folder).map(conforms) : []
process.exitCode = status || (held.includes(false) ? 1 : 0)
