import { guardError } from '../errors.ts'
import { matchesText } from './matches-text.ts'
import type { SignedManifest } from './bundle-kind.ts'

/**
 * What a signer may say of a model or dataset: for each of these members of its manifest the texts of which it must be one; a `*` stands for any
 * characters. A list must consist of such texts. Of members that are not named anything may be said.
 */
export type SignerClaims = Readonly<Record<string, readonly string[]>>

/** Whether these claims leave anything to be looked at in a manifest. */
export function isLimited (mayClaim: readonly SignerClaims[]): boolean {
  return mayClaim.every((claims) => Object.keys(claims).length > 0)
}

/**
 * Holds a signed manifest against what its signer may say: whoever may sign for staging must not call a model of production one of staging.
 * @param mayClaim what each entry that trusts the signer allows: one of them must allow all that is said.
 * @throws FMG_ERR_SIGNER_UNTRUSTED naming the first member that is missing or says something else.
 */
export function checkSignerClaims ({ attributes, ...named }: SignedManifest, mayClaim: readonly SignerClaims[]): void {
  const said = new Map<string, unknown>([...Object.entries(attributes), ...Object.entries(named)])
  const excess = mayClaim.map((claims) => Object.entries(claims).find(([name, allowed]) => !isAmong(said.get(name), allowed))?.[0])
  if (excess.includes(undefined)) return
  throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: `its signer may not claim this ${[...new Set(excess)].join(', or this ')}`, reason: 'signer-claims' })
}

function isAmong (value: unknown, allowed: readonly string[]): boolean {
  if (Array.isArray(value)) return value.length > 0 && value.every((member) => !Array.isArray(member) && isAmong(member, allowed))
  return typeof value === 'string' && allowed.some((text) => matchesText(text, value))
}
