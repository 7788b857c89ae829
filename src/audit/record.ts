/** How a request ended. */
export type RecordStatus = 'success' | 'denied' | 'limited' | 'error' | 'aborted' | 'unauthenticated'

/**
 * What the log keeps of one request or one change: no raw input, output, credential or address.
 * `undefined` members are left out of the line; the log adds `seq`.
 */
export interface AuditRecord {
  /** RFC 3339, milliseconds, UTC. */
  readonly timestamp: string
  /** What was asked for: `predict`, `read`, `policy:reload`, … */
  readonly action: string
  readonly status: RecordStatus
  /** One kebab-case word: which check decided. */
  readonly reason?: string
  /** Pseudonym of the principal. */
  readonly user_id?: string
  readonly org?: string
  readonly model_id?: string
  readonly model_version?: string
  /** `sha256:<hex>` of the verified signature's statement. */
  readonly model_digest?: string
  /** `hmac-sha256:<key id>:<hex>` */
  readonly input_hash?: string
  readonly output_hash?: string
  /** Binds input, output and principal, where a receipt was asked for: `hmac-sha256:<key id>:<nonce>:<hex>`. */
  readonly commitment?: string | undefined
  /** What the commitment binds, hidden under a key that only the receipt shows. */
  readonly opening?: string | undefined
  readonly duration_ms?: number
  /** Milliseconds that the model ran for this request, as far as it had when the record was written. */
  readonly compute_ms?: number
  readonly request_id?: string
  readonly credential_method?: string
  /** Pseudonym of the credential. */
  readonly credential_id?: string
  /** Id of the policy that was asked. */
  readonly policy?: string
  readonly rule?: string
  /** What the policy said, also where nothing was refused for it. */
  readonly decision?: 'allow' | 'deny'
  /** What was judged, where that is not the model of `model_id`. */
  readonly resource_type?: string
  readonly resource_id?: string
  /** Digest of the attributes record (`action: 'facts'`) of this principal, and of the resource and context that were judged. */
  readonly facts?: string
  /** How many requests this line stands for, where it is not one. */
  readonly count?: number
  /** Where the input lies, for the rules against model extraction: hexadecimal digits of a keyed sketch. */
  readonly sketch?: string
  /** HTTP status of the answer. */
  readonly http_status?: number
  /** Seq of the record that this one corrects. */
  readonly amends?: number
  /** A server's own members, by `request.audit.set`. */
  readonly detail?: Readonly<Record<string, unknown>>
}
