import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { openLog, type AuditLog } from '../../src/audit/log.ts'
import type { LogOptions } from '../../src/audit/log-options.ts'
import { formatVerifierKey } from '../../src/audit/note.ts'
import type { AuditRecord } from '../../src/audit/record.ts'
import type { Signer } from '../../src/secrets/signer.ts'

/** One key for all, so that a child process continues the log of its parent. */
const privateKey = createPrivateKey({
  format: 'jwk',
  key: { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo', d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A' }
})

export const signer: Signer = { publicKey: createPublicKey(privateKey), sign: async (data) => sign(null, data, privateKey) }

export const origin = 'example.com/audit'

export const verifierKey = formatVerifierKey(origin, signer.publicKey)

/** The checkpoint is written when a test asks for it, and not before. */
export function optionsFor (directory: string, more: Partial<LogOptions> = {}): LogOptions {
  return { directory, origin, signer, durability: 'before-response', checkpointIntervalMs: 3_600_000, clock: () => 0, onError: () => {}, ...more }
}

export async function openTestLog (directory: string, more: Partial<LogOptions> = {}): Promise<AuditLog> {
  return await openLog(optionsFor(directory, more))
}

export function record (index: number): AuditRecord {
  return { timestamp: '2026-11-22T00:00:00.000Z', action: 'predict', status: 'success', request_id: `request-${index}` }
}

/** Appends one record and waits for it: its seq. */
export async function append (log: AuditLog, item: AuditRecord): Promise<number> {
  return await new Promise((resolve, reject) => {
    log.append(item, (error, seq) => { if (error === null) resolve(seq); else reject(error) })
  })
}

/** Appends records of these indexes, all at once. */
export async function appendAll (log: AuditLog, from: number, to: number): Promise<number[]> {
  return await Promise.all(Array.from({ length: to - from }, async (_, offset) => await append(log, record(from + offset))))
}

export function segmentNames (directory: string): string[] {
  return readdirSync(path.join(directory, 'segments')).sort()
}

/** All lines on disk. */
export function readLines (directory: string): string[] {
  return segmentNames(directory).flatMap((name) => readFileSync(path.join(directory, 'segments', name), 'utf8').split('\n').slice(0, -1))
}

/** All records on disk. */
export function readRecords (directory: string): (AuditRecord & { seq: number })[] {
  return readLines(directory).map((line) => JSON.parse(line) as AuditRecord & { seq: number })
}

export function isLocked (directory: string): boolean {
  return existsSync(path.join(directory, 'lock'))
}

/** What all file handles have in common: where a test puts a failing method, or one that takes no time. */
export async function fileHandleMethods (): Promise<FileHandle> {
  const handle = await open('.')
  await handle.close()
  return Object.getPrototypeOf(handle) as FileHandle
}
