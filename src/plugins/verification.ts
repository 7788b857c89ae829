import { setTimeout } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import type { Authenticator } from '../authn/authenticator.ts'
import { failedAttempts, type FailedAttemptsOptions } from '../authn/failed-attempts.ts'
import type { CredentialProblem, PresentedCredential } from '../authn/presented-credential.ts'
import type { RequestFacts } from '../authn/request-facts.ts'
import { guardError, isGuardError } from '../errors.ts'
import type { Principal } from '../principal.ts'
import { subscriber } from './address.ts'
import type { Mode } from './refusal.ts'

export interface VerificationOptions {
  readonly authenticators: readonly Authenticator[]
  /** Counts one attempt; throws FMG_ERR_QUOTA_EXCEEDED when there were too many. */
  readonly limitEdge: (request: FastifyRequest) => Promise<void>
  readonly failedAttempts: Required<FailedAttemptsOptions>
  readonly mode: Mode
}

/** A credential that was found good. */
export interface Verified {
  readonly principal: Principal
  /** For the answer. */
  readonly headers: Readonly<Record<string, string>>
}

export interface Verification {
  /**
   * Verifies a credential that is not already known to be good.
   * @throws FMG_ERR_CREDENTIAL_MISSING, FMG_ERR_CREDENTIAL_INVALID, FMG_ERR_ISSUER_UNAVAILABLE, FMG_ERR_KEY_UNAVAILABLE, FMG_ERR_DENY_LIST_UNAVAILABLE;
   * FMG_ERR_QUOTA_EXCEEDED for a bad one from where too many came from, whatever is wrong with it.
   */
  readonly verify: (request: FastifyRequest, presented: PresentedCredential | CredentialProblem, facts: RequestFacts) => Promise<Verified>
  /** Has a credential verified by other means, and counts it in the same way where that finds it bad. */
  readonly attempt: <T>(request: FastifyRequest, presented: PresentedCredential, facts: RequestFacts, verify: () => Promise<T>) => Promise<T>
}

// Each holds a connection: beyond it refusals are given at once.
const maxDelayed = 1000

/** Authenticators are asked in turn until one knows the credential; bad ones are counted. */
export function verification ({ authenticators, limitEdge, failedAttempts: options, mode }: VerificationOptions): Verification {
  const attempts = failedAttempts(options)
  let delayed = 0

  async function verify (request: FastifyRequest, presented: PresentedCredential, facts: RequestFacts): Promise<Verified> {
    let isCounted = false
    for (const authenticator of askable(presented)) {
      if (authenticator.verifiesCheaply !== true && !isCounted) {
        await limitEdge(request)
        isCounted = true
      }
      const principal = await authenticator.authenticate(presented, facts)
      if (principal !== null) return { principal, headers: authenticator.answerHeaders?.(presented, facts) ?? {} }
    }
    if (!isCounted) await limitEdge(request)
    throw guardError('FMG_ERR_CREDENTIAL_INVALID', { reason: 'credential-unknown-kind' })
  }

  /** What a bad credential is answered with, in good time. */
  async function answerTo (error: unknown, presented: PresentedCredential, { address }: RequestFacts): Promise<unknown> {
    // Who is asked for a nonce has shown a good token and its key.
    if (!isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID') || error.reason === 'dpop-nonce') return error
    const { delayMs, blockedSeconds } = attempts.note(subscriber(address), publicIdOf(presented))
    if (delayMs > 0 && delayed < maxDelayed && mode === 'enforce') await delay(delayMs)
    if (blockedSeconds === 0) return error
    return guardError('FMG_ERR_QUOTA_EXCEEDED', { reason: error.reason, headers: { 'retry-after': String(blockedSeconds), 'cache-control': 'no-store' } })
  }

  async function delay (delayMs: number): Promise<void> {
    delayed++
    await setTimeout(delayMs)
    delayed--
  }

  function askable (presented: PresentedCredential): readonly Authenticator[] {
    return authenticators.filter((authenticator) => authenticator.isMine?.(presented) !== false)
  }

  function publicIdOf (presented: PresentedCredential): string | undefined {
    return askable(presented).map((authenticator) => authenticator.publicId?.(presented)).find((id) => id !== undefined)
  }

  return {
    async verify (request, presented, facts) {
      if (typeof presented === 'string') {
        await limitEdge(request)
        throw guardError(presented === 'credential-missing' ? 'FMG_ERR_CREDENTIAL_MISSING' : 'FMG_ERR_CREDENTIAL_INVALID', { reason: presented })
      }
      try {
        return await verify(request, presented, facts)
      } catch (error) {
        throw await answerTo(error, presented, facts)
      }
    },
    async attempt (request, presented, facts, work) {
      try {
        return await work()
      } catch (error) {
        if (isGuardError(error, 'FMG_ERR_CREDENTIAL_INVALID')) await limitEdge(request)
        throw await answerTo(error, presented, facts)
      }
    }
  }
}
