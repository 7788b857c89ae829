/** Something that will soon be refused because it is too old. */
export interface Expiring {
  readonly kind: 'client-certificate' | 'authority' | 'revocation-list'
  /** Fingerprint of the certificate; of a list that of its authority. */
  readonly id: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

// As far ahead as someone can act, and for certificates of hours, which renew themselves, no sooner than they are late.
const longestMs = 14 * 86_400_000
const shareOfLife = 1 / 5
// Certificates are issued by one's own authorities: many, not any number.
const maxRemembered = 10_000

/** Tells once of each thing that has less than a fifth of its life, and less than 14 days, before it. */
export function expiryWatch (onExpiring: (expiring: Expiring) => void): (expiring: Expiring, since: number, now: number) => void {
  const told = new Map<string, number>()
  return function watchExpiry (expiring, since, now) {
    const { kind, id, expiresAt } = expiring
    const name = `${kind} ${id}`
    if (expiresAt - now > Math.min(longestMs, (expiresAt - since) * shareOfLife) || told.get(name) === expiresAt) return
    if (told.size >= maxRemembered) told.clear()
    told.set(name, expiresAt)
    onExpiring(expiring)
  }
}

/** What is done where nothing else was asked for: a process warning. */
export function warnOfExpiry ({ kind, id, expiresAt }: Expiring): void {
  process.emitWarning(`${kind} ${id} expires at ${new Date(expiresAt).toISOString()}`)
}
