import { appendFile, readFile, rename, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { modelGuard, type Ended } from '../helpers/command.ts'
import { datasetManifestOf } from '../helpers/datasets.ts'
import { writeFiles } from '../helpers/models.ts'

t.test('a dataset goes from its maker to who trains on it', async (t) => {
  const folder = t.testdir()
  const at = (...names: string[]): string => path.join(folder, ...names)
  const dataset = async (...words: readonly string[]): Promise<Ended> => await modelGuard('dataset', ...words)
  await writeFiles(at('data'), { 'dataset.json': datasetManifestOf(), 'train/a.csv': '1,2,3', 'train/empty.csv': '' })
  t.match(await dataset('keygen', at('keys')), { status: 0, stdout: /signs; keep it where datasets are made\n.*verifies; give it to who trains\n/ })
  const [signing, wrapping] = [at('keys', 'signing-key.pem'), at('keys', 'wrapping-key.json')]
  const trusted = ['--trust', `${signing}.pub`]
  t.match(await dataset('sign', at('data'), '--key', signing), { status: 0, stdout: /data is signed: dataset\.sig\n$/ })
  t.match(await dataset('verify', at('data'), ...trusted), { status: 0, stdout: /^the signature holds, by the key [0-9a-f]{64}: sha256:/ })
  t.match(await modelGuard('model', 'verify', at('data'), ...trusted), { status: 1, stderr: /^FMG_ERR_BUNDLE_INVALID: .*model\.sig cannot be read/ })
  t.match(await dataset('seal', at('data'), at('sealed'), '--recipient', wrapping, ...trusted), { status: 0, stdout: /sealed is sealed for key-/ })
  t.match(await dataset('open', at('sealed'), '--key', wrapping, ...trusted), { status: 0, stdout: /^payments 1\.2\.0 opens, 3 files, signed by the key/ })
  t.match(await modelGuard('model', 'open', at('sealed'), '--key', wrapping, ...trusted), { status: 1, stderr: /^FMG_ERR_BUNDLE_INVALID/ })

  t.match(await dataset('open', at('sealed'), '--key', wrapping, ...trusted, '--output', at('opened')), { status: 0 })
  t.equal(await readFile(at('opened', 'train', 'a.csv'), 'utf8'), '1,2,3')
  t.equal(await readFile(at('opened', 'dataset.json'), 'utf8'), datasetManifestOf())
  t.equal((await stat(at('opened'))).mode & 0o777, 0o700)
  t.equal((await stat(at('opened', 'train', 'empty.csv'))).mode & 0o777, 0o600)
  t.match(await dataset('open', at('sealed'), '--key', wrapping, ...trusted, '--output', at('opened')), { status: 1, stderr: /^FMG_ERR_FILE: .*opened is there already/ })

  t.match(await dataset('keygen', at('others')), { status: 0 })
  const other = at('others', 'wrapping-key.json')
  t.match(await dataset('rewrap', at('sealed'), '--key', wrapping, '--recipient', other), { status: 0, stdout: '1 of 1 bundles rewrapped\n' })
  t.match(await dataset('open', at('sealed'), '--key', wrapping, ...trusted), { status: 1, stderr: /^FMG_ERR_BUNDLE_INVALID/ })
  t.match(JSON.parse((await dataset('open', at('sealed'), '--key', other, ...trusted, '--json')).stdout), { name: 'payments', version: '1.2.0', statementDigest: /^sha256:/, files: 3 })

  await writeFile(at('trust.yaml'), 'version: 1\nsigners: [{ key: keys/signing-key.pem.pub, models: ["*"] }]\n')
  t.match(await dataset('verify', at('data'), '--trust-file', at('trust.yaml')), { status: 1, stderr: /^FMG_ERR_SIGNER_UNTRUSTED/ }, 'who may sign models')
  await writeFile(at('trust.yaml'), 'version: 1\nsigners: [{ key: keys/signing-key.pem.pub, datasets: [payments] }]\ndatasetFloor: { payments: 1.2.1 }\nfloor: { payments: 9.0.0 }\n')
  t.match(await dataset('open', at('sealed'), '--key', other, '--trust-file', at('trust.yaml')), { status: 1, stderr: /^FMG_ERR_MODEL_ROLLBACK: .*payments 1\.2\.0 is below 1\.2\.1/ })

  await rename(at('sealed', 'train', 'empty.csv.sealed'), at('sealed', 'train', 'aside'))
  await rename(at('sealed', 'train', 'a.csv.sealed'), at('sealed', 'train', 'empty.csv.sealed'))
  await rename(at('sealed', 'train', 'aside'), at('sealed', 'train', 'a.csv.sealed'))
  t.match(await dataset('open', at('sealed'), '--key', other, ...trusted, '--output', at('partly')), { status: 1, stderr: /^FMG_ERR_MODEL_TAMPERED: .*a\.csv\.sealed/ })
  await t.rejects(stat(at('partly')), { code: 'ENOENT' }, 'nothing is left of a dataset that does not open')
  await appendFile(at('data', 'train', 'a.csv'), ' ')
  t.match(await dataset('verify', at('data'), ...trusted), { status: 1, stderr: /^FMG_ERR_MODEL_TAMPERED: .*a\.csv/ })
})
