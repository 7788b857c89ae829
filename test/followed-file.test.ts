import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { followFile, type FollowedFile } from '../src/followed-file.ts'
import { until } from './helpers/until.ts'

interface Followed {
  readonly followed: FollowedFile
  readonly seen: readonly string[]
  readonly errors: readonly unknown[]
}

/** Follows a file until the test ends, and notes what is read. */
async function follow (t: Test, file: string, heartbeatMs: number, duringRead = async (): Promise<void> => undefined): Promise<Followed> {
  const seen: string[] = []
  const errors: unknown[] = []
  const read = async (): Promise<void> => {
    seen.push(await readFile(file, 'utf8'))
    await duringRead()
  }
  const followed = await followFile({ file, heartbeatMs, read, onError: (error) => { errors.push(error) }, clock: () => performance.now() })
  t.teardown(() => followed.close())
  return { followed, seen, errors }
}

t.test('a change that comes right after the first read is told of by the system, without a look', async (t) => {
  const file = path.join(t.testdir({ file: 'one' }), 'file')
  let isFirst = true
  const { seen } = await follow(t, file, 60_000, async () => {
    if (isFirst) await writeFile(file, 'two')
    isFirst = false
  })
  await until(() => seen.includes('two'))
  t.equal(seen[0], 'one')
})

t.test('a file whose folder was replaced is found by the next look', async (t) => {
  const folder = path.join(t.testdir({ folder: { file: 'one' } }), 'folder')
  const { seen } = await follow(t, path.join(folder, 'file'), 10)
  await rename(folder, `${folder}.before`)
  await mkdir(folder)
  await writeFile(path.join(folder, 'file'), 'two')
  await until(() => seen.at(-1) === 'two')
  await writeFile(path.join(folder, 'file'), 'three')
  await until(() => seen.at(-1) === 'three')
  t.pass('and so is each change after it, of which the system tells nobody')
})

t.test('what stays as it was is not read again, and grows no older than a look', async (t) => {
  const file = path.join(t.testdir({ file: 'one' }), 'file')
  const { followed, seen } = await follow(t, file, 10)
  const start = performance.now()
  await until(() => performance.now() - start > 100 && followed.staleness() < 20)
  t.same(seen, ['one'])
})

t.test('a file that cannot be read at first is not followed', async (t) => {
  const file = path.join(t.testdir(), 'folder', 'file')
  await t.rejects(follow(t, file, 10), { code: 'ENOENT' })
  await mkdir(path.dirname(file))
  let attempts = 0
  const read = async (): Promise<void> => {
    attempts++
    await readFile(file)
  }
  await t.rejects(followFile({ file, heartbeatMs: 10, read, onError: () => undefined, clock: () => performance.now() }), { code: 'ENOENT' })
  await writeFile(file, 'one')
  const { seen } = await follow(t, file, 60_000)
  await writeFile(file, 'two')
  await until(() => seen.includes('two'))
  t.equal(attempts, 1, 'nobody watches any more')
})
