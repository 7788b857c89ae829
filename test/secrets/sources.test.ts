import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { renameSync, rmSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, readFile, readlink, rename, rm, statfs, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { createWrappingKey } from '../../src/secrets/create-keys.ts'
import { environmentSecret } from '../../src/secrets/environment-secret.ts'
import { secretFolder, type FollowedSecret } from '../../src/secrets/secret-folder.ts'
import type { SecretSource } from '../../src/secrets/secret-source.ts'
import { secretStores } from '../../src/secrets/secret-stores.ts'
import { verifySignature } from '../../src/secrets/signer.ts'
import { systemdCredentials } from '../../src/secrets/systemd-credentials.ts'
import { run } from '../helpers/command.ts'
import { until } from '../helpers/until.ts'

async function textOf (source: SecretSource): Promise<string> {
  return Buffer.from(await source.read()).toString()
}

/** Writes a secret as its owner's alone. */
async function writeSecret (file: string, text: string | Uint8Array, mode = 0o400): Promise<void> {
  await rm(file, { force: true })
  await writeFile(file, text)
  await chmod(file, mode)
}

/** A new state of the secrets of a folder, swapped in as the kubelet does it. */
async function mountAll (folder: string, secrets: Readonly<Record<string, string>>): Promise<void> {
  const state = path.basename(await mkdtemp(path.join(folder, '..state-')))
  for (const [name, text] of Object.entries(secrets)) {
    await writeSecret(path.join(folder, state, name), text)
    await symlink(path.join('..data', name), path.join(folder, name)).catch(() => undefined)
  }
  await symlink(state, path.join(folder, '..data_tmp'))
  await rename(path.join(folder, '..data_tmp'), path.join(folder, '..data'))
}

t.test('a secret of the environment is read once, and is gone from it then; who asks again gets a copy', async (t) => {
  const environment: NodeJS.ProcessEnv = { SECRET: ' päpper\n', OTHER: 'other' }
  const source = environmentSecret('SECRET', environment)
  t.equal(environment['SECRET'], ' päpper\n', 'it is not taken before it is needed')
  const first = await source.read()
  t.equal(Buffer.from(first).toString(), ' päpper\n', 'nothing is stripped')
  t.same(environment, { OTHER: 'other' })
  first.fill(0)
  t.equal(await textOf(source), ' päpper\n')
  await t.rejects(environmentSecret('SECRET', environment).read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-environment', cause: { message: /SECRET is not set/ } })
})

t.test('what a process starts after it took a secret does not inherit it', async (t) => {
  const script = `
    const { environmentSecret } = await import(${JSON.stringify(path.join(import.meta.dirname, '..', '..', 'src', 'secrets', 'environment-secret.js'))})
    const { execFileSync } = await import('node:child_process')
    const { readFileSync } = await import('node:fs')
    const look = () => execFileSync('env').includes('PEPPER')
    const before = look()
    await environmentSecret('PEPPER').read()
    console.log(before, look(), readFileSync('/proc/self/environ').includes('PEPPER'))`
  t.match(await run(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, PEPPER: 'secret' } }),
    { status: 0, stdout: 'true false true\n' }, 'though the system shows what it was started with itself')
})

t.test('a secret of the environment that is missing, empty or mangled is refused', async (t) => {
  const environment: NodeJS.ProcessEnv = { EMPTY: '', MANGLED: 'a\ufffdb' }
  for (const name of ['NONE', 'EMPTY', 'MANGLED', 'toString']) await t.rejects(environmentSecret(name, environment).read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-environment' }, name)
  for (const name of ['', 'A B', 'A=B', '1', '-']) t.throws(() => environmentSecret(name, environment), { code: 'FMG_ERR_OPTION_INVALID' }, name)
})

t.test('secrets of a folder are read from the disk each time, byte for byte', async (t) => {
  const folder = t.testdir()
  await writeSecret(path.join(folder, '.docker'), Buffer.from([0, 255, 10]))
  const source = secretFolder(folder).secret('.docker')
  t.same(await source.read(), Buffer.from([0, 255, 10]))
  await writeSecret(path.join(folder, '.docker'), 'other')
  t.equal(await textOf(source), 'other')
})

t.test('links are followed as far as they stay in the folder', async (t) => {
  const root = t.testdir({ secrets: {}, 'secrets-of-others': {} })
  const folder = path.join(root, 'secrets')
  await mountAll(folder, { pepper: 'one', 'token.txt': 'two' })
  const source = secretFolder(folder).secret('pepper')
  t.equal(await textOf(source), 'one')
  await mountAll(folder, { pepper: 'new' })
  t.equal(await textOf(source), 'new', 'the whole folder was swapped by one link')
  await writeSecret(path.join(root, 'outside'), 'outside')
  await writeSecret(path.join(root, 'secrets-of-others', 'theirs'), 'theirs')
  for (const [name, target] of [['up', '../outside'], ['beside', '../secrets-of-others/theirs'], ['system', '/etc/hostname']] as const) {
    await symlink(target, path.join(folder, name))
    await t.rejects(secretFolder(folder).secret(name).read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-folder', cause: { message: /leads out/ } }, name)
  }
  await symlink(folder, path.join(root, 'link'))
  t.equal(await textOf(secretFolder(path.join(root, 'link')).secret('pepper')), 'new', 'the folder itself may be a link')
})

t.test('a secret that is swapped while it is read is read, the old one or the new', async (t) => {
  const folder = t.testdir()
  const source = secretFolder(folder).secret('pepper')
  await mountAll(folder, { pepper: '0' })
  const rounds = 100
  const at = { round: 0 }
  const reading = Array.from({ length: 6 }, async () => {
    while (at.round < rounds) {
      const least = at.round
      const text = await textOf(source)
      if (Number(text) < least || Number(text) > at.round) throw new Error(`${text} from ${least} to ${at.round}`)
    }
  })
  const swapping = async (): Promise<void> => {
    for (let next = 1; next <= rounds; next++) {
      await mkdir(path.join(folder, `..${next}`))
      await writeSecret(path.join(folder, `..${next}`, 'pepper'), String(next))
      await symlink(`..${next}`, path.join(folder, '..data_tmp'))
      const old = await readlink(path.join(folder, '..data'))
      // At once, between any two steps of those who read.
      renameSync(path.join(folder, '..data_tmp'), path.join(folder, '..data'))
      rmSync(path.join(folder, old), { recursive: true })
      at.round = next
    }
  }
  await t.resolves(Promise.all([swapping(), ...reading]).finally(() => { at.round = rounds }))
})

t.test('a name of a secret leads nowhere else', async (t) => {
  const folder = secretFolder(t.testdir())
  for (const name of ['', '.', '..', '..data', '../x', 'a/b', '/etc/passwd', 'a\0b', 'a\nb']) {
    t.throws(() => folder.secret(name), { code: 'FMG_ERR_OPTION_INVALID' }, JSON.stringify(name))
    await t.rejects(folder.follow(name, { onChange: () => undefined, onError: () => undefined }), { code: 'FMG_ERR_OPTION_INVALID' })
  }
})

t.test('a file that others may write or read, that is another\'s or holds no secret, is refused', async (t) => {
  const folder = t.testdir({ folder: {} })
  const file = path.join(folder, 'secret')
  const refusedFor = async (why: RegExp): Promise<void> => {
    await t.rejects(secretFolder(folder).secret('secret').read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-folder', cause: { message: why } }, String(why))
  }
  await refusedFor(/ENOENT/)
  await writeSecret(file, 'secret')
  t.equal(await textOf(secretFolder(folder).secret('secret')), 'secret')
  for (const mode of [0o620, 0o602]) {
    await writeSecret(file, 'secret', mode)
    await refusedFor(/others may write it/)
  }
  for (const mode of [0o440, 0o404, 0o444]) {
    await writeSecret(file, 'secret', mode)
    await refusedFor(/others may read it, and it is on a disk/)
  }
  await writeSecret(file, '')
  await refusedFor(/it is empty/)
  await writeSecret(file, Buffer.alloc(1024 * 1024 + 1))
  await refusedFor(/larger than 1048576 bytes/)
  await t.rejects(secretFolder(folder).secret('folder').read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', cause: { message: /no file/ } })
  await rm(file)
  t.match(await run('mkfifo', ['-m', '400', file]), { status: 0 })
  // Nobody ever writes into it.
  await refusedFor(/no file/)
  await t.test('of another user', { skip: process.geteuid?.() !== 0 && 'only root can give files away' }, async () => {
    await writeSecret(file, 'secret')
    await chown(file, 12_345, 0)
    await refusedFor(/belongs to another user/)
  })
})

t.test('what all may read is taken from where it is in memory alone', { skip: (await statfs('/dev/shm').catch(() => undefined))?.type !== 0x01021994 && '/dev/shm is no tmpfs here' }, async (t) => {
  const folder = await mkdtemp('/dev/shm/model-guard-')
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  const file = path.join(folder, 'secret')
  await writeSecret(file, 'secret', 0o444)
  t.equal(await textOf(secretFolder(folder).secret('secret')), 'secret')
  await writeSecret(file, 'secret', 0o666)
  await t.rejects(secretFolder(folder).secret('secret').read(), { code: 'FMG_ERR_KEY_UNAVAILABLE' }, 'not what all may write')
})

interface Told {
  readonly secrets: readonly string[]
  readonly errors: readonly unknown[]
}

async function followed (t: Test, folder: string, name: string, heartbeatMs?: number): Promise<Told & FollowedSecret> {
  const [secrets, errors]: [string[], unknown[]] = [[], []]
  const following = await secretFolder(folder).follow(name, {
    onChange: (secret) => {
      secrets.push(Buffer.from(secret).toString())
      secret.fill(0)
    },
    onError: (error) => { errors.push(error) },
    ...heartbeatMs !== undefined && { heartbeatMs }
  })
  t.teardown(async () => { await following.close() })
  return { secrets, errors, ...following }
}

t.test('who follows a secret is told when all are swapped, and not where it stayed the same', async (t) => {
  const folder = t.testdir()
  await mountAll(folder, { pepper: 'one' })
  // So long between two looks that the system's word is what counts.
  const [pepper, same] = [await followed(t, folder, 'pepper', 600_000), await followed(t, folder, 'pepper')]
  t.same(pepper.secrets, ['one'])
  await mountAll(folder, { pepper: 'one', other: 'x' })
  await mountAll(folder, { pepper: 'two' })
  await until(() => pepper.secrets.includes('two') && same.secrets.includes('two'))
  t.same(pepper.secrets, ['one', 'two'])
  await mountAll(folder, { other: 'x' })
  await until(() => pepper.errors.length > 0)
  t.same(pepper.secrets, ['one', 'two'], 'one that is gone stays as it was')
  t.match(pepper.errors, [{ code: 'FMG_ERR_KEY_UNAVAILABLE' }])
})

t.test('without such a link the file itself is followed', async (t) => {
  const folder = t.testdir()
  await writeSecret(path.join(folder, 'pepper'), 'one')
  const [pepper, over] = [await followed(t, folder, 'pepper', 10), await followed(t, folder, 'pepper', 10)]
  await over.close()
  await writeSecret(path.join(folder, 'next'), 'two')
  await rename(path.join(folder, 'next'), path.join(folder, 'pepper'))
  await until(() => pepper.secrets.includes('two'))
  await rm(path.join(folder, 'pepper'))
  await until(() => pepper.errors.length > 0)
  t.same([over.secrets, over.errors], [['one'], []], 'who has closed is told of nothing')
  await t.rejects(followed(t, folder, 'none'), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
})

t.test('credentials of systemd are files of the folder it names', async (t) => {
  const folder = t.testdir()
  await writeSecret(path.join(folder, 'pepper'), 'secret')
  const { secret } = systemdCredentials({ CREDENTIALS_DIRECTORY: folder })
  t.equal(await textOf(secret('pepper')), 'secret')
  await t.rejects(secret('none').read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-folder' })
  t.throws(() => secret('../pepper'), { code: 'FMG_ERR_OPTION_INVALID' })
  for (const environment of [{}, { CREDENTIALS_DIRECTORY: '' }]) {
    await t.rejects(systemdCredentials(environment).secret('pepper').read(), { code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-credential' })
  }
  const inherited = systemdCredentials().secret('none')
  await t.rejects(inherited.read(), { code: 'FMG_ERR_KEY_UNAVAILABLE' })
})

t.test('references name secrets, keys and signers in files, variables and credentials', async (t) => {
  const folder = t.testdir({ credentials: {} })
  await createWrappingKey(path.join(folder, 'key.json'), 'kek')
  const jwk = await readFile(path.join(folder, 'key.json'), 'utf8')
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  await writeSecret(path.join(folder, 'key.pem'), pem)
  await writeSecret(path.join(folder, 'text'), 'text')
  for (const [name, text] of Object.entries({ JWK: jwk, PEM: pem, TEXT: 'text' })) await writeSecret(path.join(folder, 'credentials', name), text)
  const environment: NodeJS.ProcessEnv = { CREDENTIALS_DIRECTORY: path.join(folder, 'credentials'), JWK: jwk, PEM: pem, TEXT: 'text' }
  const stores = secretStores({ inFolder: (name) => path.join(folder, name), environment })
  const wrapped = await (await stores.key('file:key.json', 'key')()).wrap(Buffer.alloc(32, 7), Buffer.alloc(0))
  for (const place of ['file:text', 'env:TEXT', 'credential:TEXT']) t.equal(await textOf(stores.secret(place, 'secret')), 'text', place)
  for (const place of ['file:key.json', 'env:JWK', 'env:JWK', 'credential:JWK']) {
    const key = await stores.key(place, 'key')()
    t.same(await key.unwrap(wrapped, randomBytes(1)), Buffer.alloc(32, 7), place)
  }
  for (const place of ['file:key.pem', 'env:PEM', 'credential:PEM']) {
    const signer = await stores.signer(place, 'signer')()
    t.ok(verifySignature(publicKey, Buffer.from('x'), await signer.sign(Buffer.from('x'))), place)
  }
  t.same(Object.keys(environment), ['CREDENTIALS_DIRECTORY'], 'two references to one variable share it')
  for (const place of ['env:TEXT', 'credential:TEXT']) {
    await t.rejects(stores.key(place, 'key')(), { code: 'FMG_ERR_FILE', message: `${place} holds no JSON Web Key` })
    await t.rejects(stores.signer(place, 'signer')(), { code: 'FMG_ERR_FILE', message: new RegExp(`${place} holds no private key`) })
  }
  for (const place of ['text', 'vault', 'env:', 'toString:x', 5]) t.throws(() => stores.secret(place, 'the.place'), { code: 'FMG_ERR_OPTION_INVALID', message: /the\.place must be file:… or env:… or credential:…/ })
})
