import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { dataFolder } from '../../src/server/data-folder.ts'
import { exampleModel } from '../../src/server/example-model.ts'
import { prepareData } from '../../src/server/prepare-data.ts'
import { run } from '../helpers/command.ts'

const child = path.join(import.meta.dirname, '..', 'helpers', 'load-child.js')
const strace = await once(spawn('strace', ['-V'], { stdio: 'ignore' }), 'exit').then(() => true, () => false)

// Not this process's own: a CI variable in it, for one, keeps the runtime from reporting to its maker, which must be our doing.
const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] }

// What Node itself opens for writing without any file coming of it, and what measures coverage.
const writable = [/^\/dev\/(null|tty|pts\/\d+)$/, /^\/proc\/(self|\d+)\//, /\/\.tap\/(processinfo|coverage)\//]

t.test('the plaintext of a model never touches a file system while it is loaded and run', { skip: !strace && 'strace is not installed' }, async (t) => {
  const folder = t.testdir()
  const data = dataFolder(path.join(folder, 'data'))
  await prepareData(data)
  const trace = path.join(folder, 'trace')
  // Strings in full and in hexadecimal, of every thread.
  const { status, stdout } = await run('strace', ['-f', '-qq', '-xx', '-s', '10000000', '-e', 'trace=%file,%desc,mmap', '-e', 'signal=none', '-o', trace, process.execPath, child, data.root], { env })
  t.equal(status, 0)
  t.match(stdout, 'label,probabilities')

  const model = readFileSync(path.join(exampleModel, 'model.onnx'))
  const canaries = Array.from({ length: 200 }, () => randomInt(model.length - 32)).map((at) => hexOf(model.subarray(at, at + 32)))
  const opened: string[] = []
  const mapped: string[] = []
  let sealed = false
  let written = 0
  let leaked = ''
  for await (const line of createInterface(createReadStream(trace))) {
    const [, call = ''] = /^\d+\s+(.*)$/.exec(line) ?? []
    const name = /^\w+/.exec(call)?.[0] ?? ''
    if (/^(open|openat|openat2|creat|mknod|memfd_create)$/.test(name) && (/O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE/.test(call) || !name.startsWith('open'))) opened.push(pathIn(call))
    if (name.startsWith('open') && pathIn(call).endsWith('model.onnx.sealed')) sealed = true
    if (name === 'mmap' && /MAP_SHARED/.test(call) && /PROT_WRITE/.test(call) && !/MAP_ANONYMOUS/.test(call)) mapped.push(call)
    if (/^(p?writev?(64|2)?|sendfile|splice|copy_file_range|vmsplice)$/.test(name)) {
      written++
      if (canaries.some((canary) => call.includes(canary))) leaked = call.slice(0, 100)
    }
  }
  t.ok(sealed, 'the trace shows the sealed file being opened')
  t.ok(written > 0, 'the trace shows what is written')
  t.equal(leaked, '', 'no byte of the model is written anywhere')
  t.same(opened.filter((file) => !writable.some((pattern) => pattern.test(file))), [], 'nothing else is opened for writing')
  t.same(mapped, [], 'no file is written through memory')
})

t.test('the search would find a leak', { skip: !strace && 'strace is not installed' }, async (t) => {
  const folder = t.testdir()
  const trace = path.join(folder, 'trace')
  const file = path.join(exampleModel, 'model.onnx')
  await run('strace', ['-f', '-qq', '-xx', '-s', '10000000', '-e', 'trace=%file,%desc', '-o', trace, process.execPath, '-e', `fs.writeFileSync('${path.join(folder, 'leak')}', fs.readFileSync('${file}'))`])
  const model = readFileSync(file)
  const writes = readFileSync(trace, 'utf8').split('\n').filter((line) => /^\d+\s+write\(/.test(line))
  t.ok(writes.some((line) => line.includes(hexOf(model.subarray(1000, 1032)))))
})

function hexOf (bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
}

/** The first string argument, as text. */
function pathIn (call: string): string {
  const [, hex = ''] = /"((?:\\x[0-9a-f]{2})*)"/.exec(call) ?? []
  return Buffer.from(hex.replaceAll('\\x', ''), 'hex').toString()
}
