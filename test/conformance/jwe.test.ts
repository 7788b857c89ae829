import { createDecipheriv } from 'node:crypto'
import path from 'node:path'
import t from 'tap'
import { localKey } from '../../src/secrets/local-key.ts'
import { arrayOf, memberOf, textOf } from '../helpers/json.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

interface Case {
  readonly id: string
  readonly jwe: string
  readonly jwk: unknown
  readonly plain: unknown
  readonly valid: boolean
}

const algorithms = ['A256KW', 'RSA-OAEP-256', 'ECDH-ES+A256KW']
const ciphers: Readonly<Record<string, 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm'>> = { A128GCM: 'aes-128-gcm', A192GCM: 'aes-192-gcm', A256GCM: 'aes-256-gcm' }

/** What we refuse although it is marked as valid: which cases, and why. */
const exceptions: readonly ((vector: Case) => boolean)[] = [
  // Its key is for an algorithm that no key is wrapped with here: RSA1_5 and RSA-OAEP with SHA-1 are broken or old, the others are not needed.
  ({ jwk }) => !algorithms.includes(String(memberOf(jwk, 'alg'))),
  // Its content is under CBC with HMAC: ours is under GCM alone.
  ({ jwe }) => ciphers[String(memberOf(headerOf(jwe), 'enc'))] === undefined
]

if (vectorsFolder === undefined) {
  t.comment('jwe: skipped, no vectors folder')
} else {
  const cases = readCases(path.join(vectorsFolder, 'wycheproof/json_web_encryption_test.json'))
  const counts = { opened: 0, excepted: 0 }
  for (const vector of cases) {
    t.test(vector.id, async (t) => {
      const excepted = vector.valid && exceptions.some((holds) => holds(vector))
      if (excepted) counts.excepted++
      if (!vector.valid || excepted) {
        await t.rejects(open(vector))
        return
      }
      counts.opened++
      t.equal((await open(vector)).toString('hex'), vector.plain)
    })
  }
  t.test('some are opened', async (t) => { t.ok(counts.opened > 0) })
  t.teardown(() => { process.stderr.write(`json_web_encryption_test.json (Wycheproof): ${cases.length} run, ${counts.opened} opened, ${counts.excepted} excepted\n`) })
}

function readCases (file: string): Case[] {
  return arrayOf(memberOf(readVectors(file), 'testGroups')).flatMap((group) => arrayOf(memberOf(group, 'tests')).map((vector) => ({
    id: `${String(memberOf(vector, 'tcId'))}: ${textOf(memberOf(vector, 'comment'))}`,
    jwe: textOf(memberOf(vector, 'jwe')),
    jwk: memberOf(group, 'private'),
    plain: memberOf(vector, 'pt'),
    valid: memberOf(vector, 'result') === 'valid'
  })))
}

function headerOf (jwe: string): unknown {
  return JSON.parse(Buffer.from(jwe.split('.')[0] ?? '', 'base64url').toString())
}

/** The key is unwrapped as that of a sealed model is; the content is opened by Node. */
async function open ({ jwe, jwk }: Case): Promise<Buffer> {
  const [header = '', encryptedKey = '', iv = '', content = '', tag = '', ...more] = jwe.split('.')
  const key = localKey({ jwk: Object(jwk) as object })
  const algorithm = textOf(memberOf(headerOf(jwe), 'alg'))
  const cipher = ciphers[textOf(memberOf(headerOf(jwe), 'enc'))]
  if (more.length > 0 || algorithm !== key.algorithm || cipher === undefined) throw new Error('not for this key')
  const epk = memberOf(headerOf(jwe), 'epk')
  const contentKey = await key.unwrap({ algorithm, header: epk === undefined ? {} : { epk }, encryptedKey: Buffer.from(encryptedKey, 'base64url') }, Buffer.alloc(0))
  const decipher = createDecipheriv(cipher, contentKey, Buffer.from(iv, 'base64url'), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(header)).setAuthTag(Buffer.from(tag, 'base64url'))
  return Buffer.concat([decipher.update(Buffer.from(content, 'base64url')), decipher.final()])
}
