import { createHash } from 'node:crypto'
import { object, withDefault } from '../../options.ts'
import { readUrl } from '../../bounded-fetch.ts'
import { isJsonObject, type JsonObject } from '../../strict-json.ts'
import { readIssuerUrl } from '../fetch-json.ts'
import { appraiserShape, attestationTokens, type AppraiserOptions } from './attestation-token.ts'
import { badAttestation, type AttestationVerifier } from './attestation-verifier.ts'

/** By default NVIDIA's own service, with its keys from where it publishes them. */
export interface NvidiaVerifierOptions extends Omit<AppraiserOptions, 'issuer'> {
  /** Default `https://nras.attestation.nvidia.com`. */
  readonly issuer?: string
}

const service = 'https://nras.attestation.nvidia.com'

const readOptions = object({ ...appraiserShape, issuer: withDefault(readIssuerUrl, service) })

/**
 * Verifies results of NVIDIA's Remote Attestation Service (version 3 of its claims): one token for all devices, and one for each, which the first names by their digests. Its text is the service's
 * JSON, `[["JWT", …], {"GPU-0": …}]`, in base64url. All that is appraised must be good. Facts: `devices`, how many; `models`; `drivers`; `firmware` (VBIOS), each once.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function nvidiaVerifier (options: NvidiaVerifierOptions = {}): AttestationVerifier {
  const read = readOptions(options, 'nvidiaVerifier')
  const jwksUrl = read.jwksUrl ?? (read.jwks === undefined ? readUrl(`${read.issuer}/.well-known/jwks.json`, 'nvidiaVerifier.issuer') : undefined)
  const readToken = attestationTokens({ ...read, jwksUrl }, ['ES384'], 'nvidiaVerifier')
  return {
    async verify (text, now) {
      const { overall, devices } = readBundle(text)
      const claims = await readToken(overall, now)
      if (claims['x-nvidia-ver'] !== '3.0') throw badAttestation('nvidia-version')
      if (claims['x-nvidia-overall-att-result'] !== true) throw badAttestation('nvidia-result')
      checkSubmods(claims.submods, devices)
      const all = await Promise.all(devices.map(async ([, token]) => checkDevice(await readToken(token, now))))
      const each = (name: string): readonly string[] => Array.from(new Set(all.map((device) => textOf(device[name])))).sort()
      return {
        nonces: [claims, ...all].map(({ eat_nonce: nonce }) => typeof nonce === 'string' ? nonce.toLowerCase() : ''),
        facts: { devices: devices.length, models: each('hwmodel'), drivers: each('x-nvidia-gpu-driver-version'), firmware: each('x-nvidia-gpu-vbios-version') }
      }
    }
  }
}

// The service writes the one, its own tools the other.
const hashNames = ['SHA-256', 'SHA256']

type Devices = readonly (readonly [name: string, token: string])[]

function readBundle (text: string): { readonly overall: string, readonly devices: Devices } {
  const [first, named] = listOf(parse(text))
  const [kind, overall] = listOf(first)
  const devices = Object.entries(isJsonObject(named) ? named : {}).flatMap(([name, token]) => typeof token === 'string' ? [[name, token] as const] : [])
  if (kind !== 'JWT' || typeof overall !== 'string' || devices.length === 0) throw badAttestation('nvidia-bundle')
  return { overall, devices }
}

function parse (text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString())
  } catch {
    throw badAttestation('nvidia-bundle')
  }
}

function textOf (value: unknown): string {
  return typeof value === 'string' ? value : 'unknown'
}

function listOf (value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Exactly these devices, each by the digest of its very token: a good device of another machine would pass otherwise. */
function checkSubmods (submods: unknown, devices: Devices): void {
  const named = Object.entries(isJsonObject(submods) ? submods : {})
  const isNamed = ([name, token]: Devices[number]): boolean => {
    const [kind, digest] = listOf(named.find(([other]) => other === name)?.[1])
    const [algorithm, value] = listOf(digest)
    return kind === 'DIGEST' && hashNames.some((name) => name === algorithm) && value === createHash('sha256').update(token).digest('hex')
  }
  if (named.length !== devices.length || !devices.every(isNamed)) throw badAttestation('nvidia-submods')
}

function checkDevice (claims: JsonObject): JsonObject {
  const { measres, secboot, dbgstat } = claims
  if (measres !== 'success' || secboot !== true || dbgstat !== 'disabled') throw badAttestation('nvidia-device')
  const checks = Object.entries(claims).filter(([name]) => name.startsWith('x-nvidia-gpu-'))
  // Each is one thing that was held against what it should be, or a chain of certificates that was.
  if (!checks.some(([, value]) => value === true) || !checks.every(([, value]) => isGood(value))) throw badAttestation('nvidia-check')
  if (claims['x-nvidia-attestation-warning'] !== undefined && claims['x-nvidia-attestation-warning'] !== null) throw badAttestation('nvidia-warning')
  return claims
}

function isGood (value: unknown): boolean {
  if (!isJsonObject(value)) return value !== false
  return !Object.values(value).includes(false) && value['x-nvidia-cert-status'] === 'valid' && value['x-nvidia-cert-ocsp-status'] === 'good'
}
