import { anyThat, object, oneOf, optional, optionInvalid, string, withDefault } from '../options.ts'
import type { Principal } from '../principal.ts'
import { parseSpiffeId } from './spiffe-id.ts'

/** Who a workload is, where it is not to be known by its SPIFFE ID: the same as in `mtls`. */
export interface WorkloadIdentity {
  /** Whole: `spiffe://trust.domain/path`. */
  readonly spiffeId: string
  /** The principal's. */
  readonly id: string
  /** Default `service`. */
  readonly type?: 'user' | 'service'
  readonly org?: string
  readonly team?: string
  /** Default `standard`. */
  readonly tier?: string
}

/** A workload's principal, roles and credential apart. */
export type Workload = Pick<Principal, 'id' | 'type' | 'org' | 'team' | 'tier' | 'attributes'>

/** Reads one. */
export const readWorkload = object({
  spiffeId: anyThat((value): value is string => typeof value === 'string' && (parseSpiffeId(value)?.path ?? '') !== '', 'a SPIFFE ID with a path'),
  id: string(),
  type: withDefault(oneOf('user', 'service'), 'service'),
  org: optional(string()),
  team: optional(string()),
  tier: withDefault(string(), 'standard')
})

/**
 * Finds a workload by its SPIFFE ID.
 * @throws FMG_ERR_OPTION_INVALID for one that stands twice.
 */
export function workloadTable (identities: ReadonlyArray<ReturnType<typeof readWorkload>>, tier: string, path: string): (spiffeId: string) => Workload {
  const known = new Map(identities.map(({ spiffeId, ...workload }) => [spiffeId, { ...workload, attributes: {} }]))
  if (known.size < identities.length) throw optionInvalid(path, 'a list of SPIFFE IDs, each once', identities)
  return (spiffeId) => known.get(spiffeId) ?? { id: spiffeId, type: 'service', tier, attributes: {} }
}
