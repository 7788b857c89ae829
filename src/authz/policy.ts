import type { Credential, Principal } from '../principal.ts'

/** What is asked for (AuthZEN 1.0 resource). */
export interface Resource {
  readonly type: string
  readonly id: string
  /** The org that owns it; a role reaches only its holder's own org unless it says otherwise. */
  readonly org?: string
  readonly attributes: Readonly<Record<string, unknown>>
}

/**
 * Whom a policy is asked about: a principal of this server, or somebody whom another describes (AuthZEN 1.0 subject), in whatever words it has
 * for types. What it does not say of tier and credential is not known, and a rule that asks for it is not met.
 */
export interface AskedPrincipal extends Omit<Principal, 'type' | 'tier' | 'credential'> {
  readonly type: string
  readonly tier?: string
  readonly credential?: { readonly [K in keyof Credential]?: K extends 'method' ? string : Credential[K] }
}

/** The circumstances: the server's environment, time, address, method. */
export type Context = Readonly<Record<string, unknown>>

/** What a decision is bound to: no more than this project itself can do. */
export interface Obligations {
  /**
   * What is left out of the answer: members of a JSON answer, a dot leading into a nested one and through lists; outputs of a model's run.
   * An answer of another kind does not leave.
   */
  readonly mask?: readonly string[]
  /** The tier under whose limits the request is charged, instead of its principal's own. */
  readonly tier?: string
  /** The record says all that the policy was told, not only its digest. The only one that a denial can bring. */
  readonly record?: 'full-metadata'
}

/** The outcome of a policy for one question. */
export interface Decision {
  readonly allowed: boolean
  /** Name of the rule or role permission that decided (`rule:nobody deletes…`, `role:analyst`); `null` when nothing matched. */
  readonly rule: string | null
  /** `allowed`, `forbidden`, `no-match`, `policy-error`, or `insufficient-scope` where the credential is limited to less. */
  readonly reason: 'allowed' | 'forbidden' | 'no-match' | 'policy-error' | 'insufficient-scope'
  /** Left out: none. A decision whose obligations cannot be met, or are none of these, is a denial. */
  readonly obligations?: Obligations
}

/** Judges. A user's own may answer later; one that throws denies. */
export interface Policy {
  /** Names the policy in every record it leads to: for a file, `sha256:` and the digest of its bytes. */
  readonly id: string
  /** Tiers that its decisions may oblige to: with any, it is asked before the request is charged. Left out: none. */
  readonly tiers?: readonly string[]
  decide (principal: AskedPrincipal, action: string, resource: Resource, context: Context): Decision | Promise<Decision>
}
