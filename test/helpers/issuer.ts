import type { Test } from 'tap'
import { memorySigningKeyStore } from '../../src/authn/signing-key-store.ts'
import { signingKeys, type SigningKeysOptions } from '../../src/authn/signing-keys.ts'
import type { TokenIssuer, TokenIssuerOptions } from '../../src/authn/token-issuer.ts'
import type { TokenTerms } from '../../src/authn/issued-token.ts'
import { tokenIssuer } from '../../src/plugins/token-issuer.ts'
import { nowSeconds } from './tokens.ts'

export const home = 'https://models.example'

/** This server as an issuer, at a time that the test sets. */
export async function issuerAt (t: Test, time: { readonly now: number }, more: Partial<TokenIssuerOptions> = {}, keyOptions: Partial<SigningKeysOptions> = {}): Promise<TokenIssuer> {
  const clock = (): number => time.now
  const keys = await signingKeys({ store: memorySigningKeyStore(), clock, ...keyOptions })
  t.teardown(() => { keys.close() })
  return await tokenIssuer({ issuer: home, keys, clock, ...more })
}

/** Terms of a token of `ann`, made from an API key. */
export function termsOf (changed: Partial<TokenTerms> = {}): TokenTerms {
  return {
    principal: { id: 'ann', type: 'user', org: 'acme', tier: 'standard', roles: ['analyst'], scopes: [], attributes: { grade: 7 } },
    source: { method: 'api-key', id: 'k1', expiresAt: (nowSeconds + 86_400) * 1000, state: 's' },
    via: [],
    audiences: [home],
    binding: null,
    ...changed
  }
}
