import type { Committed } from '../audit/commitment.ts'
import type { Identity } from '../audit/identities.ts'
import type { AuditRecord, RecordStatus } from '../audit/record.ts'
import type { Sketcher } from '../audit/watch/sketch.ts'
import type { CredentialMethod } from '../principal.ts'

/** What a handler may add to its record. */
export type AuditFields = Pick<AuditRecord, 'model_id' | 'model_version' | 'model_digest' | 'detail'>

/** A change that was made to somebody's credential. */
export interface CredentialChange {
  /** For instance `key:revoke`. */
  readonly action: string
  /** Why, in one kebab-case word. */
  readonly reason: string
  readonly requestId: string
  /** Whose credential it is. */
  readonly principalId: string
  readonly org: string | undefined
  readonly credential: { readonly method: CredentialMethod, readonly id: string }
}

/** `request.audit`: for servers whose model is not loaded by this package. */
export interface RequestAudit {
  /** Adds to, or replaces, what the record of this request says. Kept as given: put no input, output or credential here. */
  set (fields: AuditFields): void
  /**
   * Writes a record of its own for a change that this request made to a credential; resolves when it is as durable as the log makes records.
   * @throws FMG_ERR_AUDIT_UNAVAILABLE
   */
  noteChange (change: CredentialChange): Promise<void>
  /**
   * Sketches what a model is about to be asked, where the audit plugin takes sketches; the record of this request holds the last one. The models
   * of this package do so by themselves.
   * @param rows how many inputs the tensors hold side by side, by their first dimension. Default 1.
   */
  readonly sketch: Sketcher
}

/** The outcome that a record states. */
export interface Outcome {
  readonly status: RecordStatus
  readonly httpStatus: number
}

/** What the log knows a request's principal and credential by: drawn together. */
export interface Names {
  readonly identity: Identity
  /** Pseudonym of the credential. */
  readonly credential: string
}

/** What is known of a request's record while the request runs. */
export class AuditEntry implements RequestAudit {
  readonly startedAt = performance.now()
  fields: AuditFields = {}
  /** By whose pseudonym and keys the record is written, from first to last. */
  names: Names | undefined
  /** Why it failed, in one word. */
  reason: string | undefined
  /** The keyed digest of all that was received so far. */
  inputHash: (() => string | undefined) | undefined
  /** The keyed digest of all that was sent so far. */
  outputHash: (() => string | undefined) | undefined
  /** SHA-256 of all that was received, once that has ended; only where a receipt was asked for. */
  wholeInput: (() => Buffer | undefined) | undefined
  /** What the next record of it is committed to. */
  committed: Committed | undefined
  /** What the record that is in the log says, and its seq; `undefined` before there is one. */
  recorded: Outcome | undefined
  seq: number | undefined
  /** Nothing more is to be said of it: it is over, or counted among the strangers'. */
  isSettled = false
  /** The record in the log says that a stream began; its end wants another. */
  isStreaming = false
  /** The answer was handed over whole. */
  isComplete = false
  /** Of what the model was asked. */
  sketchText: string | undefined
  readonly noteChange: (change: CredentialChange) => Promise<void>
  readonly #sketcher: Sketcher | null

  /** @param sketcher `null` where no sketches are taken. */
  constructor (noteChange: (change: CredentialChange) => Promise<void>, sketcher: Sketcher | null) {
    this.noteChange = noteChange
    this.#sketcher = sketcher
  }

  readonly sketch: Sketcher = (...asked) => {
    this.sketchText = this.#sketcher?.(...asked) ?? this.sketchText
    return this.sketchText
  }

  set (fields: AuditFields): void {
    this.fields = { ...this.fields, ...fields }
  }
}
