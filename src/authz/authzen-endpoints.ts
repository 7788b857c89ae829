/** Where a decision point answers. */
export interface AuthzenPaths {
  readonly evaluation: string
  readonly evaluations: string
  readonly metadata: string
}

/**
 * The paths of a decision point below this one (`/`, `/tenant`), by default as AuthZEN 1.0 section 10.1 has them; the metadata's well-known name
 * is put between host and path (section 9.2).
 */
export function authzenPaths (pathname: string): AuthzenPaths {
  const base = pathname.replace(/\/$/, '')
  return {
    evaluation: `${base}/access/v1/evaluation`,
    evaluations: `${base}/access/v1/evaluations`,
    metadata: `/.well-known/authzen-configuration${base}`
  }
}

/** The document of AuthZEN 1.0 section 9.1. The URL stands in it letter by letter, for askers compare it so (section 9.2.3). */
export function authzenMetadata (url: string): Readonly<Record<string, unknown>> {
  const { origin, pathname } = new URL(url)
  const { evaluation, evaluations } = authzenPaths(pathname)
  return { policy_decision_point: url, access_evaluation_endpoint: origin + evaluation, access_evaluations_endpoint: origin + evaluations }
}
