import type { Identities } from '../audit/identities.ts'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'

/** Under which the audit plugin leaves its log to others of this package. */
export const recording = Symbol('fastify-model-guard.recording')

declare module 'fastify' {
  interface FastifyInstance {
    /** Only where the audit plugin is registered. */
    [recording]: Recording
  }
}

/** Told of a record that is in the log. Must not throw. */
export type RecordListener = (record: AuditRecord, seq: number) => void

/** The log that the requests of a scope are recorded in. */
export interface Recording {
  readonly log: AuditLog
  readonly identities: Identities
  /** Has this one told of every record that this scope makes, in the order of the log, after who waits for it. */
  readonly whenRecorded: (listener: RecordListener) => void
}

/** A log that tells of what it took in. */
export function tellingLog (log: AuditLog): Pick<Recording, 'log' | 'whenRecorded'> {
  const listeners: RecordListener[] = []
  const append: AuditLog['append'] = (record, done, durability) => {
    log.append(record, (error, seq) => {
      done(error, seq)
      if (seq !== -1) for (const tell of listeners) tell(record, seq)
    }, durability)
  }
  return {
    whenRecorded (listener) { listeners.push(listener) },
    log: new Proxy(log, { get: (target, name): unknown => name === 'append' ? append : Reflect.get(target, name) })
  }
}
