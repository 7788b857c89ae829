import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

const count = Number(process.env['QUESTIONS'] ?? 100_000)
const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
t.setTimeout(3_600_000)

t.test(`Cedar decides ${count} questions alike`, async (t) => {
  t.comment(`seed ${seed}`)
  // A process of its own, that nothing measures, and that keeps its JavaScript and Cedar's WebAssembly apart: inlined, they bring V8 of Node 20 down now and then.
  const { NODE_V8_COVERAGE: _coverage, NODE_OPTIONS: _options, ...env } = process.env
  const { stdout } = await promisify(execFile)(process.execPath, ['--enable-source-maps', '--no-turbo-inline-js-wasm-calls', path.join(import.meta.dirname, 'cedar-child.js'), `${count}`, `${seed}`], { env })
  const { allowed, denied, differences } = JSON.parse(stdout) as { allowed: number, denied: number, differences: unknown[] }
  t.same(differences, [])
  t.equal(allowed + denied, count)
  t.ok(allowed > count / 10 && denied > count / 10, `${allowed} allowed, ${denied} denied`)
})
