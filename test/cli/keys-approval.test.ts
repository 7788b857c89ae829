import { mkdirSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { fileKeyStore } from '../../src/authn/file-key-store.ts'
import { ensurePepper, readPepper } from '../../src/pepper.ts'
import { modelGuard } from '../helpers/command.ts'

t.test('who asked for a key and who approved it stands in its record; one name alone is not understood', async (t) => {
  const folder = t.testdir()
  const [file, pepperFile] = [path.join(folder, 'keys.json'), path.join(folder, 'secrets', 'pepper')]
  mkdirSync(path.dirname(pepperFile), { mode: 0o700 })
  await ensurePepper(pepperFile)
  const names = ['--requested-by', 'ann', '--approved-by', 'bob']
  t.match(await modelGuard('keys', 'create', '--store', file, '--id', 'root', '--role', 'admin', '--requested-by', 'ann'), { status: 2, stderr: /--approved-by is required/ })
  t.match(await modelGuard('keys', 'create', '--store', file, '--id', 'root', '--role', 'admin', '--approved-by', 'bob'), { status: 2, stderr: /--requested-by is required/ })
  const { stdout } = await modelGuard('keys', 'create', '--store', file, '--id', 'root', '--role', 'admin', '--json', ...names)
  const { keyId } = JSON.parse(stdout) as { keyId: string }
  const approvals = async (): Promise<unknown> => {
    const store = await fileKeyStore({ file, pepper: await readPepper(pepperFile) })
    const record = await store.find(keyId)
    await store.close()
    return record?.approval
  }
  t.same(await approvals(), { requestedBy: 'ann', approvedBy: 'bob' })
  t.match(await modelGuard('keys', 'rotate', keyId, '--store', file), { status: 0 })
  t.equal(await approvals(), undefined)
  t.match(await modelGuard('keys', 'revoke', keyId, '--store', file, ...names), { status: 0 })
  t.same(await approvals(), { requestedBy: 'ann', approvedBy: 'bob' })
})
