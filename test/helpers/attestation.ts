import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'

/** Somebody who appraises evidence: signs whatever claims a test gives. */
export interface TestAppraiser {
  readonly issuer: string
  readonly jwks: { readonly keys: readonly object[] }
  readonly privateKey: KeyObject
  sign (claims: object, more?: { readonly key?: KeyObject, readonly kid?: string }): Promise<string>
}

/** Milliseconds since the epoch, in tests of attestation. */
export const attestedAt = 1_800_000_000_000

export function testAppraiser (alg: 'ES256' | 'ES384' | 'RS256', issuer = 'https://appraiser.example'): TestAppraiser {
  const { publicKey, privateKey } = alg === 'RS256' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: alg === 'ES256' ? 'P-256' : 'P-384' })
  const seconds = attestedAt / 1000
  return {
    issuer,
    privateKey,
    jwks: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg }] },
    sign: async (claims, { key = privateKey, kid = 'k1' } = {}) => await new SignJWT({ iss: issuer, iat: seconds, nbf: seconds, exp: seconds + 300, ...claims }).setProtectedHeader({ alg, kid, typ: 'JWT' }).sign(key)
  }
}

/** Claims of a device that is as it should be. */
export function gpuClaims (nonce: string, more: object = {}): object {
  const chain = { 'x-nvidia-cert-status': 'valid', 'x-nvidia-cert-ocsp-status': 'good', 'x-nvidia-cert-revocation-reason': null, 'x-nvidia-cert-ocsp-nonce-matches': true }
  return {
    eat_nonce: nonce,
    measres: 'success',
    secboot: true,
    dbgstat: 'disabled',
    hwmodel: 'GH100 A01 GSP BROM',
    'x-nvidia-gpu-driver-version': '590.12',
    'x-nvidia-gpu-vbios-version': '96.00.A5.00.01',
    'x-nvidia-gpu-arch-check': true,
    'x-nvidia-gpu-attestation-report-nonce-match': true,
    'x-nvidia-gpu-attestation-report-cert-chain': chain,
    'x-nvidia-gpu-driver-rim-cert-chain': chain,
    'x-nvidia-attestation-warning': null,
    ...more
  }
}

/** What NVIDIA's service answers, as it is sent on. */
export async function nvidiaResult (appraiser: TestAppraiser, nonce: string, { overall = {}, hash = 'SHA-256', devices = {}, change = (bundle) => bundle }: { readonly overall?: object, readonly hash?: string, readonly devices?: Readonly<Record<string, object>>, readonly change?: (bundle: [[string, string], Record<string, string>]) => unknown } = {}): Promise<string> {
  const tokens: Record<string, string> = {}
  for (const [name, claims] of Object.entries({ 'GPU-0': {}, ...devices })) tokens[name] = await appraiser.sign(gpuClaims(nonce, claims))
  const submods = Object.fromEntries(Object.entries(tokens).map(([name, token]) => [name, ['DIGEST', [hash, createHash('sha256').update(token).digest('hex')]]]))
  const first = await appraiser.sign({ 'x-nvidia-ver': '3.0', 'x-nvidia-overall-att-result': true, eat_nonce: nonce, submods, ...overall })
  return Buffer.from(JSON.stringify(change([['JWT', first], tokens]))).toString('base64url')
}
