import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { readSignatures } from '../../src/authn/message-signatures.ts'
import { isSignatureOf, readSignatureName, unfit, type MessageAlgorithm } from '../../src/authn/signature-algorithm.ts'
import { signatureBase } from '../../src/authn/signature-base.ts'
import type { HttpMessage } from '../../src/authn/signature-components.ts'
import { arrayOf, memberOf, textOf } from '../helpers/json.ts'
import { readVectors, vectorsFolder } from './vectors.ts'

/*
 * The examples of RFC 9421 appendix B, from `httpsig/rfc9421.json` among the vectors:
 *
 *   { "keys": { KEYID: { "algorithm": "ed25519", "jwk": { "kty": "OKP", … } } },
 *     "cases": [ { "name": "B.2.6", "valid": true, "base": "\"date\": …",
 *                  "request": { "method": "POST", "url": "https://example.com/foo?param=Value&Pet=dog" },
 *                  "status": 200,
 *                  "fields": [ ["Date", "…"], ["Signature-Input", "sig-b26=(…)…"], ["Signature", "sig-b26=:…:"] ] } ] }
 *
 * A case has a `request`, or the `status` of a response. `fields` holds the lines in order; the key is that which `keyid` names. `base`, where it is
 * given, is the whole signature base. `valid` says whether the signature is one of this message.
 */
const file = path.join(vectorsFolder ?? '', 'httpsig', 'rfc9421.json')

if (vectorsFolder === undefined || !existsSync(file)) {
  t.comment('HTTP message signatures: skipped, no vectors')
} else {
  run(readVectors(file))
}

function run (vectors: unknown): void {
  const cases = arrayOf(memberOf(vectors, 'cases'))
  for (const vector of cases) {
    t.test(textOf(memberOf(vector, 'name')), async (t) => {
      const message = messageOf(vector)
      const [signed] = readSignatures(message.fields)
      if (signed === undefined) throw new TypeError('no signature')
      const { algorithm, key } = keyOf(memberOf(memberOf(vectors, 'keys'), signed.parameters.keyid ?? ''))
      t.equal(unfit(algorithm, key), undefined)
      const base = signatureBase(message, signed.input)
      const expected = memberOf(vector, 'base')
      if (expected !== undefined) t.equal(base.toString(), expected)
      t.equal(isSignatureOf(algorithm, key, base, signed.signature), memberOf(vector, 'valid'))
    })
  }
  t.teardown(() => { process.stderr.write(`HTTP message signatures: ${cases.length} run, 0 skipped\n`) })
}

function messageOf (vector: unknown): HttpMessage {
  const fields = arrayOf(memberOf(vector, 'fields')).flatMap((line) => arrayOf(line).map(textOf))
  const status = memberOf(vector, 'status')
  if (typeof status === 'number') return { fields, status }
  const request = memberOf(vector, 'request')
  const { protocol, host, pathname, search } = new URL(textOf(memberOf(request, 'url')))
  return { fields, request: { method: textOf(memberOf(request, 'method')), scheme: protocol.slice(0, -1), authority: host, target: pathname + search } }
}

function keyOf (described: unknown): { algorithm: MessageAlgorithm, key: KeyObject } {
  const algorithm = readSignatureName(memberOf(described, 'algorithm'), 'algorithm')
  const jwk = memberOf(described, 'jwk') as JsonWebKey
  return { algorithm, key: jwk.k === undefined ? createPublicKey({ key: jwk, format: 'jwk' }) : createSecretKey(jwk.k, 'base64url') }
}
