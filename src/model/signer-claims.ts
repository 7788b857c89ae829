import { guardError } from '../errors.ts'
import { compileGlob, isGlob } from '../glob.ts'
import type { Manifest } from './manifest.ts'

/**
 * What a signer may say of a model: for each of these members of `model.json` the texts of which it must be one; a `*` stands for any
 * characters. A list must consist of such texts. Of members that are not named anything may be said.
 */
export type SignerClaims = Readonly<Record<string, readonly string[]>>

/**
 * Holds a signed manifest against what its signer may say: whoever may sign for staging must not call a model of production one of staging.
 * @throws FMG_ERR_SIGNER_UNTRUSTED naming the first member that is missing or says something else.
 */
export function checkSignerClaims ({ attributes, ...named }: Manifest, mayClaim: SignerClaims): void {
  const said = new Map<string, unknown>([...Object.entries(attributes), ...Object.entries(named)])
  for (const [name, allowed] of Object.entries(mayClaim)) {
    if (!isAmong(said.get(name), allowed)) throw guardError('FMG_ERR_SIGNER_UNTRUSTED', { detail: `its signer may not claim this ${name}`, reason: 'signer-claims' })
  }
}

function isAmong (value: unknown, allowed: readonly string[]): boolean {
  if (Array.isArray(value)) return value.length > 0 && value.every((member) => !Array.isArray(member) && isAmong(member, allowed))
  return typeof value === 'string' && allowed.some((text) => isGlob(text) ? compileGlob(text.split('*'))(value) : text === value)
}
