import { integer, object, oneOf, optional, string, type Read, type Reader } from '../options.ts'
import type { DeniableToken, Denial } from './deny-list.ts'

const time = integer({ min: 0 })

/** Reads a denial; a member that is not known is refused, for without it the denial would be of every token. */
export const readDenial: Reader<Denial> = object({
  issuer: string(),
  tokenId: optional(string()),
  subject: optional(string()),
  session: optional(string()),
  issuedBefore: optional(time),
  until: optional(time)
})

/** Reads one denial as it is kept. */
export const readDenialRecord = object({
  version: integer({ min: 1 }),
  issuer: string(),
  kind: oneOf('all', 'tokenId', 'subject', 'session'),
  /** Which one of its kind; absent for `all`. */
  value: optional(string()),
  /** Left out, whenever they were issued. */
  issuedBefore: optional(time),
  /** Left out, forever. */
  until: optional(time)
})

/** One thing that is denied. */
export type DenialRecord = Read<typeof readDenialRecord>

type Denied = Pick<DenialRecord, 'issuer' | 'kind' | 'value'>

/** Each of these is denied for itself; with none of them, the issuer is. */
export function deniedBy ({ issuer, tokenId, subject, session }: Denial): readonly Denied[] {
  const named = ([['tokenId', tokenId], ['subject', subject], ['session', session]] as const).flatMap(([kind, value]) => value === undefined ? [] : [{ issuer, kind, value }])
  return named.length === 0 ? [{ issuer, kind: 'all', value: undefined }] : named
}

/** By which it is found. */
export function denialId ({ issuer, kind, value = '' }: Denied): string {
  return JSON.stringify([issuer, kind, value])
}

/** A record as wide as both; `null` when the one before is so already. */
export function widened (before: DenialRecord | undefined, denied: Denied, { issuedBefore = Infinity, until = Infinity }: Denial): DenialRecord | null {
  const [wasBefore, wasUntil] = before === undefined ? [0, 0] : [before.issuedBefore ?? Infinity, before.until ?? Infinity]
  if (issuedBefore <= wasBefore && until <= wasUntil) return null
  return { ...denied, version: (before?.version ?? 0) + 1, issuedBefore: finite(Math.max(issuedBefore, wasBefore)), until: finite(Math.max(until, wasUntil)) }
}

// A token may be taken for a minute after its end, and clocks of nodes differ.
const slackMs = 300_000

/** From when on a record need not be kept. */
export function endOf ({ until = Infinity }: DenialRecord): number {
  return until + slackMs
}

/** Whether a token is among what these records deny. */
export function isDenied (records: ReadonlyMap<string, DenialRecord>, { issuer, issuedAt, tokenId, subject, session }: DeniableToken): boolean {
  if (records.size === 0) return false
  return [...deniedBy({ issuer, tokenId, subject, session }), { issuer, kind: 'all', value: undefined } as const].some((denied) => {
    const record = records.get(denialId(denied))
    return record !== undefined && issuedAt < (record.issuedBefore ?? Infinity)
  })
}

function finite (time: number): number | undefined {
  return time === Infinity ? undefined : time
}
