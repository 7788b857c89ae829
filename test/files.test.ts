import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { exists, lockFile, lockFolder, makePrivateFolder, readPrivateFile, writeFileAtomic } from '../src/files.ts'

t.test('an atomic write replaces the whole file, for its owner alone, and leaves nothing else', async (t) => {
  const folder = t.testdir({ 'a.txt': 'a much longer old content' })
  await writeFileAtomic(path.join(folder, 'a.txt'), 'new')
  t.equal(await readFile(path.join(folder, 'a.txt'), 'utf8'), 'new')
  t.equal((await stat(path.join(folder, 'a.txt'))).mode & 0o777, 0o600)
  await writeFileAtomic(path.join(folder, 'b.txt'), Buffer.from('x'), 0o644)
  t.equal((await stat(path.join(folder, 'b.txt'))).mode & 0o777, 0o644)
  t.same((await readdir(folder)).sort(), ['a.txt', 'b.txt'])
})

t.test('a write that fails names the file and leaves the old content', async (t) => {
  const folder = t.testdir({ target: { inner: 'x' } })
  await t.rejects(writeFileAtomic(path.join(folder, 'target'), 'new'), { code: 'FMG_ERR_FILE', message: /cannot write .*target/ })
  t.same(await readdir(folder), ['target'])
  await t.rejects(writeFileAtomic(path.join(folder, 'none', 'x'), 'new'), { code: 'FMG_ERR_FILE' })
})

t.test('a secret that others may read is refused, and so is one that is not there', async (t) => {
  const folder = t.testdir({ secret: 's' })
  const file = path.join(folder, 'secret')
  await chmod(file, 0o600)
  t.equal((await readPrivateFile(file)).toString(), 's')
  for (const mode of [0o640, 0o604, 0o620]) {
    await chmod(file, mode)
    await t.rejects(readPrivateFile(file), { code: 'FMG_ERR_FILE', message: /chmod 600/ })
  }
  await t.rejects(readPrivateFile(path.join(folder, 'none')), { code: 'FMG_ERR_FILE', message: /cannot read/ })
  t.equal(await exists(file), true)
  t.equal(await exists(path.join(folder, 'none')), false)
})

t.test('private folders are their owner\'s', async (t) => {
  const folder = path.join(t.testdir(), 'a', 'b')
  await makePrivateFolder(folder)
  t.equal((await stat(folder)).mode & 0o777, 0o700)
})

t.test('a folder has one holder, who is named', async (t) => {
  const folder = t.testdir()
  const lock = await lockFolder(folder)
  await t.rejects(lockFolder(folder), { code: 'FMG_ERR_FILE', message: new RegExp(`in use by process ${process.pid}`) })
  await lock.release()
  await (await lockFolder(folder)).release()
  t.same(await readdir(folder), [])
})

t.test('a lock of a process that is gone is taken over, of one that runs it is not', async (t) => {
  const folder = t.testdir()
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'])
  await once(child, 'spawn')
  const { pid = 0 } = child
  const started = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)?.split(' ')[19] ?? ''
  await writeFile(path.join(folder, 'lock'), `${pid} ${started}`)
  await t.rejects(lockFolder(folder), { message: new RegExp(`in use by process ${pid}`) })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = await lockFolder(folder)
  await lock.release()

  await writeFile(path.join(folder, 'lock'), `${process.pid} 1`)
  await (await lockFolder(folder)).release()
  t.same(await readdir(folder), [], 'the same process id with another start time is another process')

  for (const [pid, held] of [[String(process.pid), true], ['999999999', false]] as const) {
    await writeFile(path.join(folder, 'lock'), `${pid} `)
    if (held) await t.rejects(lockFolder(folder), { message: /in use/ }, 'without a start time the process id decides')
    else await (await lockFolder(folder)).release()
    await rm(path.join(folder, 'lock'), { force: true })
  }

  await writeFile(path.join(folder, 'lock'), '999999999 1')
  await writeFile(path.join(folder, 'lock.removal'), (await readFile('/proc/self/stat', 'utf8')).replace(/^(\d+) .*\) (?:\S+ ){19}(\d+) [^]*$/, '$1 $2'))
  await t.rejects(lockFolder(folder), { message: new RegExp(`in use by process ${process.pid}`) }, 'while another is removing it')
  await rm(path.join(folder, 'lock.removal'))
  const racing = await Promise.allSettled(Array.from({ length: 50 }, async () => await lockFolder(folder)))
  t.equal(racing.filter(({ status }) => status === 'fulfilled').length, 1, 'of many that find a dead lock one gets it')
  await rm(path.join(folder, 'lock'))

  await writeFile(path.join(folder, 'lock'), '')
  await t.rejects(lockFolder(folder), { code: 'FMG_ERR_FILE' }, 'a lock that names nobody is not taken over')
  await rm(path.join(folder, 'lock'))

  await mkdir(path.join(folder, 'lock'))
  await t.rejects(lockFolder(folder), { code: 'FMG_ERR_FILE' })
})

t.test('a zombie holds nothing', async (t) => {
  const folder = t.testdir()
  // The child ends once sh has become a sleep, which never asks how its child ended.
  const script = 'while [ "$(cat /proc/$$/comm)" != sleep ]; do :; done & echo $!; exec sleep 60'
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => parent.kill())
  const [line] = await once(parent.stdout, 'data') as [Buffer]
  const pid = line.toString().trim()
  let fields: string[] = []
  while (fields[0] !== 'Z') fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)?.split(' ') ?? []
  await writeFile(path.join(folder, 'lock'), `${pid} ${String(fields[19])}`)
  await (await lockFolder(folder)).release()
})

t.test('a short turn is waited for, but not for ever', async (t) => {
  const file = path.join(t.testdir(), 'x.lock')
  const first = await lockFile(file)
  await t.rejects(lockFile(file, 20), { code: 'FMG_ERR_FILE', message: /is held by process/ })
  const order: string[] = []
  const second = lockFile(file).then(async (lock) => {
    order.push('second')
    await lock.release()
  })
  order.push('first')
  await first.release()
  await second
  t.same(order, ['first', 'second'])
})
