import { createSecretKey } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { parseCompactJws, verifyJws } from '../../src/authn/compact-jws.ts'
import { pickKey, readJwks, secretKey } from '../../src/authn/key-set.ts'
import { isSymmetric, readAlgorithms, type SignatureAlgorithm, type VerificationKey } from '../../src/authn/verification-key.ts'
import { arrayOf, memberOf, textOf } from '../helpers/json.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

/** A case, and the keys it is judged with. */
interface Case {
  readonly id: string
  readonly jws: string
  readonly jwks: readonly unknown[]
  readonly valid: boolean
}

/** Where we judge otherwise than marked: which cases, and why. */
const exceptions: readonly ((vector: Case) => boolean)[] = [
  // Marked as valid, and the key names another algorithm than the header.
  ({ valid, jws, jwks }) => valid && jwks.every((jwk) => memberOf(jwk, 'alg') !== headerAlgorithm(jws)),
  // Marked as valid, and there are characters in it that are not base64url.
  ({ valid, jws }) => valid && /[^\w.-]/.test(jws),
  // Marked as invalid for its padding, and there is neither padding nor any other spelling of these bytes.
  ({ valid, id, jws }) => !valid && id.includes('invalidBase64Padding') && jws.split('.').every((part) => Buffer.from(part, 'base64url').toString('base64url') === part)
]

if (vectorsFolder === undefined) {
  t.comment('jws: skipped, no vectors folder')
} else {
  run('json_web_signature_test.json', vectorsFolder)
  run('json_web_key_test.json', vectorsFolder)
}

function run (name: string, folder: string): void {
  const cases = readCases(path.join(folder, 'wycheproof', name))
  const counts = { run: 0, excepted: 0 }
  for (const vector of cases) {
    t.test(`${name} ${vector.id}`, async (t) => {
      const excepted = exceptions.some((holds) => holds(vector))
      if (excepted) counts.excepted++
      counts.run++
      await decide(t, vector, vector.valid !== excepted)
    })
  }
  t.teardown(() => { process.stderr.write(`${name} (Wycheproof): ${counts.run} run, ${counts.excepted} of them excepted\n`) })
}

function readCases (file: string): Case[] {
  return arrayOf(memberOf(readVectors(file), 'testGroups')).flatMap((group) => {
    const keys = memberOf(group, 'public') ?? memberOf(group, 'private')
    const jwks = arrayOf(memberOf(keys, 'keys') ?? [keys])
    return arrayOf(memberOf(group, 'tests')).map((vector) => ({
      id: `${String(memberOf(vector, 'tcId'))}: ${textOf(memberOf(vector, 'comment'))}`,
      jws: textOf(memberOf(vector, 'jws')),
      jwks,
      valid: memberOf(vector, 'result') === 'valid'
    }))
  })
}

function headerAlgorithm (jws: string): unknown {
  return memberOf(JSON.parse(Buffer.from(jws.split('.')[0] ?? '', 'base64url').toString()), 'alg')
}

async function decide (t: Test, { jws, jwks }: Case, accepted: boolean): Promise<void> {
  const verifying = verify(jws, jwks)
  if (accepted) await t.resolves(verifying)
  else await t.rejects(verifying, { code: /FMG_ERR_(CREDENTIAL|OPTION)_INVALID/ })
}

/** As an authenticator does it: the algorithms are those that the keys are for, or would be when they do not say. */
async function verify (jws: string, jwks: readonly unknown[]): Promise<void> {
  const named = jwks.map((jwk) => memberOf(jwk, 'alg') ?? (memberOf(jwk, 'kty') === 'RSA' ? 'RS256' : 'ES256'))
  const algorithms = readAlgorithms([...new Set(named)], 'algorithms')
  const parsed = parseCompactJws(jws)
  const key = pickKey(keysOf(jwks, algorithms), parsed.header.kid, parsed.header.alg)
  await verifyJws(parsed, key ?? noKey())
}

function keysOf (jwks: readonly unknown[], algorithms: readonly SignatureAlgorithm[]): readonly VerificationKey[] {
  const [algorithm] = algorithms
  if (algorithm === undefined || !isSymmetric(algorithm)) return readJwks({ keys: jwks }, algorithms) ?? []
  return jwks.flatMap((jwk) => secretKey(createSecretKey(textOf(memberOf(jwk, 'k')), 'base64url'), algorithm, textOf(memberOf(jwk, 'kid'))) ?? [])
}

function noKey (): never {
  throw Object.assign(new Error('no key'), { code: 'FMG_ERR_CREDENTIAL_INVALID' })
}
