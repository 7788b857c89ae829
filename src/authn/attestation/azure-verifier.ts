import { readUrl } from '../../bounded-fetch.ts'
import { listOf, nonEmpty, object, oneOf, withDefault } from '../../options.ts'
import { isJsonObject, type JsonObject } from '../../strict-json.ts'
import { appraiserShape, attestationTokens, type AppraiserOptions } from './attestation-token.ts'
import { badAttestation, type AttestationVerifier } from './attestation-verifier.ts'

/** Kinds of hardware that Azure appraises. */
export type AzureTee = 'sevsnpvm' | 'tdxvm' | 'sgx'

const allTees: readonly AzureTee[] = ['sevsnpvm', 'tdxvm', 'sgx']

export interface AzureVerifierOptions extends AppraiserOptions {
  /** Default: all. */
  readonly tees?: readonly AzureTee[]
}

const readOptions = object({
  ...appraiserShape,
  tees: withDefault(nonEmpty(listOf(oneOf(...allTees))), allTees)
})

/**
 * Verifies tokens of Microsoft Azure Attestation: of one provider, whose URL is the `issuer`, with its keys from `<issuer>/certs` unless said otherwise; `jku` is not followed. What runs
 * in it must not be open to a debugger, and a virtual machine must be `azure-compliant-cvm`. Facts: `tee`; `measurement` (of the launch, or the enclave); `policy`, the digest of the provider's policy.
 * @throws FMG_ERR_OPTION_INVALID
 */
export function azureVerifier (options: AzureVerifierOptions): AttestationVerifier {
  const { tees, ...read } = readOptions(options, 'azureVerifier')
  const jwksUrl = read.jwksUrl ?? (read.jwks === undefined ? readUrl(`${read.issuer}/certs`, 'azureVerifier.issuer') : undefined)
  const readToken = attestationTokens({ ...read, jwksUrl }, ['RS256'], 'azureVerifier')
  return {
    async verify (text, now) {
      const claims = await readToken(text, now)
      // A virtual machine's own token holds that of its hardware.
      const hardware = isJsonObject(claims['x-ms-isolation-tee']) ? claims['x-ms-isolation-tee'] : claims
      const tee = tees.find((known) => known === hardware['x-ms-attestation-type'])
      if (tee === undefined) throw badAttestation('azure-type')
      if (tee !== 'sgx' && hardware['x-ms-compliance-status'] !== 'azure-compliant-cvm') throw badAttestation('azure-compliance')
      if (hardware[debugClaims[tee]] !== false) throw badAttestation('azure-debuggable')
      const measurement = hardware[measurementClaims[tee]]
      return { nonces: noncesOf(claims), facts: { tee, ...textOf('measurement', measurement), ...textOf('policy', claims['x-ms-policy-hash']) } }
    }
  }
}

const debugClaims: Readonly<Record<AzureTee, string>> = { sevsnpvm: 'x-ms-sevsnpvm-is-debuggable', tdxvm: 'tdx_td_attributes_debug', sgx: 'x-ms-sgx-is-debuggable' }
const measurementClaims: Readonly<Record<AzureTee, string>> = { sevsnpvm: 'x-ms-sevsnpvm-launchmeasurement', tdxvm: 'tdx_mrtd', sgx: 'x-ms-sgx-mrenclave' }

function textOf (name: string, value: unknown): Readonly<Record<string, string>> {
  return typeof value === 'string' ? { [name]: value } : {}
}

/** What the caller of Azure asked to be repeated, as it was given or in base64; or what the machine itself was given. */
function noncesOf (claims: JsonObject): readonly string[] {
  const runtime = claims['x-ms-runtime']
  const payload = isJsonObject(runtime) ? runtime['client-payload'] : undefined
  const named = [claims.nonce, isJsonObject(payload) ? payload.nonce : undefined].filter((nonce) => nonce !== undefined)
  return named.map((nonce) => typeof nonce !== 'string' ? '' : /^[0-9a-f]{64}$/.test(nonce) ? nonce : Buffer.from(nonce, 'base64').toString('latin1'))
}
