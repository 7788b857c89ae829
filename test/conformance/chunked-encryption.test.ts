import { createHash } from 'node:crypto'
import path from 'node:path'
import { inflateSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { unseal } from '../../src/model/unseal.ts'
import { arrayOf, bytesOf, memberOf, textOf } from '../helpers/json.ts'
import { bytesSource } from '../helpers/bytes-source.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

if (vectorsFolder === undefined) {
  t.comment('chunked-encryption: skipped, no vectors folder')
} else {
  const suite = readVectors(path.join(vectorsFolder, 'wycheproof/c2sp_chunked_encryption_aes_256_gcm_test.json'))
  const counts = { run: 0, skipped: 0 }
  for (const group of arrayOf(memberOf(suite, 'testGroups'))) {
    const cases = arrayOf(memberOf(group, 'tests'))
    if (textOf(memberOf(group, 'aead')) !== 'AEAD_AES_256_GCM' || textOf(memberOf(group, 'sha')) !== 'SHA-512') {
      counts.skipped += cases.length
      continue
    }
    for (const vector of cases) {
      counts.run++
      t.test(`${String(memberOf(vector, 'tcId'))}: ${textOf(memberOf(vector, 'comment'))}`, async (t) => { await decide(t, vector) })
    }
  }
  t.teardown(() => { process.stderr.write(`chunked-encryption (Wycheproof): ${counts.run} run, ${counts.skipped} skipped${counts.skipped === 0 ? '' : ' (not Cobblestone-256)'}\n`) })
}

async function decide (t: Test, vector: unknown): Promise<void> {
  const source = bytesSource(inflateSync(bytesOf(memberOf(vector, 'ct'))))
  const opening = unseal(source, { key: bytesOf(memberOf(vector, 'key')), context: bytesOf(memberOf(vector, 'ctx')) })
  if (memberOf(vector, 'result') === 'valid') {
    const plain = await opening
    t.equal(plain.length, memberOf(vector, 'msgLength'))
    t.equal(createHash('sha512').update(plain).digest('hex'), memberOf(vector, 'msgSha512'))
    return
  }
  const flags = arrayOf(memberOf(vector, 'flags')).map(String)
  await t.rejects(opening, { code: flags.includes('InvalidKeySize') ? 'FMG_ERR_OPTION_INVALID' : 'FMG_ERR_MODEL_TAMPERED' })
  if (flags.includes('HeaderFailure')) t.ok(source.reads.length <= 1, 'no chunk was read')
}
