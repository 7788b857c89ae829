import { readPseudonyms } from '../audit/identity-file.ts'
import { readRecords, type LoggedRecord } from '../audit/read-records.ts'
import type { FilePolicy } from '../authz/file-policy.ts'
import { havingMethods, integer, object, optional, string } from '../options.ts'
import { recordedQuestions, type RecordedQuestions } from './recorded-questions.ts'

export interface RecordedRequestsOptions {
  /** The log's folder. It may be in use. */
  readonly directory: string
  readonly policy: FilePolicy
  /** The map from pseudonyms to principals. Without it principals are called by their pseudonyms, and what a policy says of `principal.id` is not known. */
  readonly identities?: string | undefined
  /** From this time on; milliseconds since the epoch. */
  readonly since?: number | undefined
  /** Before this time. */
  readonly until?: number | undefined
}

/** Checks options. @throws FMG_ERR_OPTION_INVALID naming the first that is not right. */
export const readRequestsOptions = object({
  directory: string(),
  policy: havingMethods<FilePolicy>('decide', 'weigh', 'explainRoles'),
  identities: optional(string()),
  since: optional(integer({ min: 0 })),
  until: optional(integer({ min: 0 }))
})

/** The requests of a log, and how to ask their questions again. */
export interface RecordedRequests {
  readonly questions: RecordedQuestions
  /** What a principal is called. */
  readonly nameOf: (pseudonym: string) => string
  /** Every request once, in the order of the log. */
  readonly batches: () => AsyncGenerator<readonly LoggedRecord[]>
}

/**
 * Opens the requests of a log.
 * @throws FMG_ERR_FILE when the identities cannot be read.
 */
export async function recordedRequests ({ directory, identities, since, until }: RecordedRequestsOptions): Promise<RecordedRequests> {
  const names = identities === undefined ? new Map<string, string>() : await readPseudonyms(identities)
  const questions = recordedQuestions(names)
  return {
    questions,
    nameOf: (pseudonym) => names.get(pseudonym) ?? pseudonym,
    async * batches () {
      for await (const records of readRecords({ directory, since, until })) {
        // A batch is taken up as a whole: facts always stand before the first request that names them.
        for (const record of records) if (record.action === 'facts') questions.learn(record)
        yield records.filter(isRequest)
      }
    }
  }
}

/** Changes of keys and policies are no requests; what amends a request is the same one once more. */
function isRequest ({ http_status: status, amends }: LoggedRecord): boolean {
  return status !== undefined && amends === undefined
}

/** Whether somebody's request was put to the policy, by the decision that stands in its record. Older records have the policy alone. */
export function wasJudged ({ policy, user_id: user }: LoggedRecord): boolean {
  return policy !== undefined && user !== undefined
}

/** Whether it was allowed then; older records say so by their status. */
export function wasAllowed ({ decision, status }: LoggedRecord): boolean {
  return decision === undefined ? status !== 'denied' : decision === 'allow'
}

/** A permitted or refused thing, as a table names it. */
export interface NamedRequest {
  readonly principal: string
  readonly action: string
  /** Type and id. */
  readonly resource: string
}

/** What a request is called in a table. */
export function nameRequest (record: LoggedRecord, principal: string): NamedRequest {
  return { principal, action: record.action, resource: `${record.resource_type ?? 'model'} ${String(record.resource_id ?? record.model_id)}` }
}
