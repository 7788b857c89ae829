import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import type { LogOptions } from '../../src/audit/log-options.ts'
import type { AuditRecord } from '../../src/audit/record.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
const digest = '7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730'
const people = Array.from({ length: 300 }, (_, index) => `u_${String(index).padStart(22, '0')}`)

/** A log with a key of this run's own. */
export function logOptions (directory: string, durability: 'before-response' | 'async'): LogOptions {
  return { directory, origin: 'bench.example/audit', signer: { publicKey, sign: async (data) => sign(null, data, key) }, durability }
}

/** The record of a prediction as the reference server writes it: about 700 bytes. */
export function recordOf (index: number): AuditRecord {
  const user = people[index % people.length] ?? ''
  return {
    timestamp: '2026-11-22T12:00:00.000Z',
    action: 'predict',
    status: 'success',
    user_id: user,
    org: 'acme',
    credential_method: 'api-key',
    credential_id: `c_${user.slice(2)}`,
    facts: `sha256:${digest}`,
    model_id: 'digits',
    model_version: '1.0.0',
    model_digest: `sha256:${digest}`,
    input_hash: `hmac-sha256:k_${user.slice(-12)}:${digest}`,
    output_hash: `hmac-sha256:k_${user.slice(-12)}:${digest}`,
    duration_ms: (index % 100_000) / 1000,
    request_id: `req-${index.toString(36)}`,
    policy: `sha256:${digest}`,
    rule: 'role analyst',
    decision: 'allow',
    http_status: 200
  }
}
