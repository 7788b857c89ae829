import type { FastifyRequest } from 'fastify'
import { badCredential } from '../authn/bad-credential.ts'
import { nextNonce, provenKey, type DpopRules } from '../authn/dpop.ts'
import { holderOf, readFamily, writeFamily } from '../authn/family-content.ts'
import type { TokenTerms } from '../authn/issued-token.ts'
import { checkPossession } from '../authn/possession.ts'
import type { RefreshFamilies } from '../authn/refresh-families.ts'
import type { RefreshFamily } from '../authn/refresh-store.ts'
import type { RequestFacts } from '../authn/request-facts.ts'
import type { TokenSource } from '../authn/source.ts'
import { grantAgain, grantToken, type Proven } from '../authn/token-grant.ts'
import type { TokenIssuer } from '../authn/token-issuer.ts'
import { refused, type TokenRequest, type WantedToken } from '../authn/token-request.ts'
import { isGuardError } from '../errors.ts'
import type { Principal } from '../principal.ts'
import type { CredentialCheck } from './credential-check.ts'

export interface TokenExchangerOptions {
  readonly check: CredentialCheck
  readonly issuer: TokenIssuer
  readonly families: RefreshFamilies | undefined
  readonly dpop: DpopRules | undefined
  readonly clock: () => number
}

/** The answer of the token endpoint (RFC 6749 section 5.1, RFC 8693 section 2.2.1). */
export interface TokenAnswer {
  readonly access_token: string
  readonly issued_token_type?: string
  readonly token_type: 'Bearer' | 'DPoP'
  readonly expires_in: number
  readonly scope?: string
  readonly refresh_token?: string
}

/** An exchange that was found good, but for the quota. */
export interface Exchange {
  /** Who asks. */
  readonly principal: Principal
  /** For the next proof, where the nonce of this one is about to end (RFC 9449 section 8.2). */
  readonly nextNonce: string | null
  readonly issue: () => Promise<TokenAnswer>
}

type Grant<G extends TokenRequest['grant']> = Extract<TokenRequest, { grant: G }>

/** Judges what is asked of the token endpoint. */
export function tokenExchanger ({ check, issuer, families, dpop, clock }: TokenExchangerOptions): (asked: TokenRequest, request: FastifyRequest) => Promise<Exchange> {
  return async function exchange (asked, request) {
    switch (asked.grant) {
      case 'client_credentials': return await exchangeOwn(asked, request)
      case 'token-exchange': return await exchangeSubject(asked, request)
      case 'refresh_token': return await refresh(asked, request)
    }
  }

  /** The credential of the request itself. A token in a header brings its own proof. */
  async function exchangeOwn ({ wanted }: Grant<'client_credentials'>, request: FastifyRequest): Promise<Exchange> {
    const facts = check.factsOf(request)
    const presented = check.presentedIn(request, facts)
    const principal = await check.verify(request, presented, facts).catch((error: unknown) => { throw check.challenged(error, presented) })
    const isProven = typeof presented === 'object' && presented.scheme === 'dpop'
    const key = isProven || typeof presented === 'string' ? null : await check.attempt(request, presented, facts, () => keyOf(facts))
    return exchangeOf(principal, wanted, { key, facts }, 'unauthorized-client')
  }

  /** A credential in the body, where it is the only one. */
  async function exchangeSubject ({ subject, issuedType, wanted }: Grant<'token-exchange'>, request: FastifyRequest): Promise<Exchange> {
    const { facts, key } = await factsOfBody(request, subject)
    const principal = await check.verify(request, subject, facts)
    const { issue, nextNonce: nonce } = exchangeOf(principal, wanted, { key, facts }, 'invalid-request')
    return { principal, nextNonce: nonce, issue: async () => ({ ...await issue(), issued_token_type: issuedType }) }
  }

  async function refresh ({ token, wanted }: Grant<'refresh_token'>, request: FastifyRequest): Promise<Exchange> {
    if (families === undefined) throw refused('unsupported-grant-type', 'there are no refresh tokens')
    const presented = { scheme: 'refresh-token', value: token }
    const { facts } = await factsOfBody(request, presented)
    return await check.attempt(request, presented, facts, async () => {
      const family = await families.find(token)
      const terms = readFamily(family.content)
      // Before anything is ended or used up: who has a token, but not what it is bound to, has no say.
      await checkPossession(terms.binding, presented, facts, dpop, clock())
      if (!isVouchedFor(terms.source, facts)) {
        await end(families, family)
        throw badCredential('refresh-source-over')
      }
      const granted = { ...grantAgain(terms, wanted), session: family.familyId, until: family.expiresAt }
      return {
        principal: holderOf(terms, family),
        nextNonce: nonceAfter(facts),
        // Used up last: what fails before costs no token.
        issue: async () => ({ ...answerOf(granted), refresh_token: await turn(families, family, token) })
      }
    })
  }

  async function turn (families: RefreshFamilies, family: RefreshFamily, token: string): Promise<string> {
    try {
      return (await families.turn(token)).token
    } catch (error) {
      // Two have it: what was issued to either ends.
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) await issuer.denySession(family.familyId)
      throw error
    }
  }

  async function end (families: RefreshFamilies, { familyId }: RefreshFamily): Promise<void> {
    await families.end(familyId)
    await issuer.denySession(familyId)
  }

  function exchangeOf (principal: Principal, wanted: WantedToken, { key, facts }: { readonly key: string | null, readonly facts: RequestFacts }, refusal: string): Exchange {
    const from = sourceOf(principal)
    // Before a token that would not count is issued: that of a store which has to be waited for, say.
    if (from === null || !isVouchedFor(from.source, facts)) throw refused(refusal, 'no tokens are made from this credential')
    const proven: Proven = { key: key ?? undefined, certificate: facts.certificate?.thumbprint }
    const terms = grantToken(principal, from, wanted, proven, issuer)
    // A token of this server ends sooner than there would be anything to refresh.
    const isToRefresh = wanted.isToRefresh && from.via.length === 0
    return { principal, nextNonce: nonceAfter(facts), issue: async () => isToRefresh && families !== undefined ? await begin(families, terms) : answerOf(terms) }
  }

  async function begin (families: RefreshFamilies, terms: TokenTerms): Promise<TokenAnswer> {
    const { token, familyId } = await families.begin(writeFamily(terms), terms.until)
    return { ...answerOf({ ...terms, session: familyId }), refresh_token: token }
  }

  function answerOf (terms: TokenTerms): TokenAnswer {
    const { token, expiresAt } = issuer.issue('at+jwt', terms)
    return {
      access_token: token,
      token_type: terms.binding?.key === undefined ? 'Bearer' : 'DPoP',
      expires_in: Math.floor((expiresAt - clock()) / 1000),
      ...terms.limitedTo !== undefined && { scope: terms.limitedTo.join(' ') }
    }
  }

  function sourceOf (principal: Principal): TokenSource | null {
    for (const authenticator of check.authenticators) {
      const source = authenticator.sourceOf?.(principal) ?? null
      if (source !== null) return source
    }
    return null
  }

  function isVouchedFor (source: TokenTerms['source'], facts: RequestFacts): boolean {
    return check.authenticators.some((authenticator) => authenticator.vouches?.(source, facts) === true)
  }

  /** The facts of a request whose credential stands in its body; a second one in a header is refused. */
  async function factsOfBody (request: FastifyRequest, presented: { readonly scheme: string, readonly value: string }): Promise<{ readonly facts: RequestFacts, readonly key: string | null }> {
    const before = check.factsOf(request)
    const inHeader = check.presentedIn(request, before)
    const isCertificate = typeof inHeader === 'object' && inHeader.scheme === 'certificate'
    if (inHeader !== 'credential-missing' && !isCertificate) throw refused('invalid-request', 'two credentials')
    const key = await check.attempt(request, presented, before, () => keyOf(before))
    return { facts: check.factsOf(request, key), key }
  }

  function nonceAfter (facts: RequestFacts): string | null {
    return facts.dpopProofs.length === 0 || dpop === undefined ? null : nextNonce(facts, dpop, clock())
  }

  /** The key that the request's proof proves; `null` where there is no proof. */
  async function keyOf (facts: RequestFacts): Promise<string | null> {
    if (facts.dpopProofs.length === 0) return null
    if (dpop === undefined) throw badCredential('dpop-not-accepted')
    try {
      return await provenKey(facts, dpop, clock())
    } catch (error) {
      if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') && error.reason?.startsWith('dpop-') !== true) throw badCredential('dpop-malformed', error)
      throw error
    }
  }
}
