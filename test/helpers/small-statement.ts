import { rootDigest } from '../../src/model/statement.ts'

/** Of that file. */
export const digest = 'ab'.repeat(32)

/** What is signed for a model of one file. */
export const payload = Buffer.from(JSON.stringify({
  _type: 'https://in-toto.io/Statement/v1',
  subject: [{ name: 'model', digest: { sha256: rootDigest([{ digest }]) } }],
  predicateType: 'https://model_signing/signature/v1.0',
  predicate: { resources: [{ name: 'a', algorithm: 'sha256', digest }], serialization: { method: 'files', hash_type: 'sha256', allow_symlinks: false } }
}))
