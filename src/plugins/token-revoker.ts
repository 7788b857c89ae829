import type { FastifyRequest } from 'fastify'
import { holderOf, readFamily } from '../authn/family-content.ts'
import type { FormParameters } from '../authn/form-parameters.ts'
import type { RefreshFamilies } from '../authn/refresh-families.ts'
import type { TokenIssuer } from '../authn/token-issuer.ts'
import { refused, required } from '../authn/token-request.ts'
import { isGuardError } from '../errors.ts'
import type { Principal } from '../principal.ts'
import type { CredentialCheck } from './credential-check.ts'

export interface TokenRevokerOptions {
  readonly check: CredentialCheck
  readonly issuer: TokenIssuer
  readonly families: RefreshFamilies | undefined
}

/**
 * Ends a token of this server (RFC 7009); whoever has it may. A refresh token takes its family along, with all that was issued to it.
 * Gives whose it was; `null` for one that is not good, which is no error (section 2.2).
 */
export function tokenRevoker ({ check, issuer, families }: TokenRevokerOptions): (form: FormParameters, request: FastifyRequest) => Promise<Principal | null> {
  return async function revoke (form, request) {
    const token = required(form, 'token')
    await check.limitEdge(request)
    try {
      if (issuer.isMine(token)) return await revokeAccess(token)
      if (families !== undefined && token.startsWith('fmg_refresh_')) return await revokeFamily(families, token)
    } catch (error) {
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) return null
      throw error
    }
    throw refused('unsupported-token-type', 'only tokens of this server are revoked here')
  }

  async function revokeAccess (token: string): Promise<Principal> {
    const issued = await issuer.verify('at+jwt', token)
    await issuer.denyToken(issued)
    return issued.principal
  }

  async function revokeFamily (families: RefreshFamilies, token: string): Promise<Principal> {
    const family = await families.find(token)
    const terms = readFamily(family.content)
    await families.end(family.familyId)
    await issuer.denySession(family.familyId)
    return holderOf(terms, family)
  }
}
