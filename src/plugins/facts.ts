import { hash } from 'node:crypto'
import type { AuditLog } from '../audit/log.ts'
import { canonicalJson } from '../encoding.ts'
import type { Principal } from '../principal.ts'

/**
 * What policy replay and the least-privilege report need to know of a principal, in a record of its own, written once when it is new.
 * @param maxRemembered digests that are known to be written; beyond that some are written again, which says nothing wrong.
 * @returns gives the digest of a principal's attributes record, `sha256:<hex>`; its line goes to the log before any that names it.
 */
export function factsWriter (log: AuditLog, maxRemembered = 100_000): (principal: Principal, pseudonym: string) => string {
  const known = new WeakMap<Principal, { readonly user: string, readonly digest: string }>()
  const written = new Set<string>()

  function write (principal: Principal, user: string): string {
    const { type, org, team, tier, roles, scopes, credential: { limitedTo } } = principal
    const detail = { type, org, team, tier, roles, scopes, limited_to: limitedTo }
    const digest = `sha256:${hash('sha256', canonicalJson({ ...detail, user }))}`
    if (written.size >= maxRemembered) written.clear()
    if (!written.has(digest)) {
      written.add(digest)
      log.append({ timestamp: new Date().toISOString(), action: 'facts', status: 'success', user_id: user, facts: digest, detail }, () => {})
    }
    known.set(principal, { user, digest })
    return digest
  }

  return (principal, pseudonym) => {
    const last = known.get(principal)
    // Who was forgotten and comes back has another pseudonym, and must not be joined to the old one by the digest of its record.
    return last?.user === pseudonym ? last.digest : write(principal, pseudonym)
  }
}
