import type { Principal } from '../principal.ts'

/** What is asked for (AuthZEN 1.0 resource). */
export interface Resource {
  readonly type: string
  readonly id: string
  /** The org that owns it; a role reaches only its holder's own org unless it says otherwise. */
  readonly org?: string
  readonly attributes: Readonly<Record<string, unknown>>
}

/** The circumstances: the server's environment, time, address, method. */
export type Context = Readonly<Record<string, unknown>>

/** The outcome of a policy for one question. */
export interface Decision {
  readonly allowed: boolean
  /** Name of the rule or role permission that decided (`rule:nobody deletes…`, `role:analyst`); `null` when nothing matched. */
  readonly rule: string | null
  /** `allowed`, `forbidden`, `no-match`, `policy-error`, or `insufficient-scope` where the credential is limited to less. */
  readonly reason: 'allowed' | 'forbidden' | 'no-match' | 'policy-error' | 'insufficient-scope'
}

/** Judges. A user's own may answer later; one that throws denies. */
export interface Policy {
  /** Names the policy in every record it leads to: for a file, `sha256:` and the digest of its bytes. */
  readonly id: string
  decide (principal: Principal, action: string, resource: Resource, context: Context): Decision | Promise<Decision>
}
