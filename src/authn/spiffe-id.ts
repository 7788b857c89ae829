/** A SPIFFE ID (SPIFFE-ID section 2): who a workload is, within the trust domain that says so. */
export interface SpiffeId {
  readonly trustDomain: string
  /** With its leading slash; empty for the trust domain itself, which is no workload. */
  readonly path: string
}

const trustDomainPattern = /^[a-z0-9._-]{1,255}$/
const segmentPattern = /^[A-Za-z0-9._-]+$/
const prefix = 'spiffe://'
const maxBytes = 2048

/** Whether this is the name of a trust domain (section 2.1): lower case, no port, no user information. */
export function isTrustDomain (name: string): boolean {
  return trustDomainPattern.test(name)
}

/**
 * Reads a SPIFFE ID as strictly as it is defined: nothing is decoded, lowered or tidied, so two IDs are the same workload exactly when their
 * texts are equal. `null` for anything else.
 */
export function parseSpiffeId (text: string): SpiffeId | null {
  if (text.length > maxBytes || !text.startsWith(prefix)) return null
  const [trustDomain = '', ...segments] = text.slice(prefix.length).split('/')
  if (!isTrustDomain(trustDomain) || !segments.every(isSegment)) return null
  return { trustDomain, path: segments.map((segment) => `/${segment}`).join('') }
}

function isSegment (segment: string): boolean {
  return segmentPattern.test(segment) && segment !== '.' && segment !== '..'
}
