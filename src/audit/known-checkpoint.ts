import { guardError } from '../errors.ts'
import { hasRoot, openCheckpoint } from './checkpoint.ts'
import type { AuditLog } from './log.ts'
import { parseVerifierKey } from './note.ts'
import { tileHashes } from './tile-hashes.ts'

/**
 * Demands that a log goes on from a checkpoint of it that was kept elsewhere: one that was begun anew, set back or written anew does not, though
 * nothing on this machine tells.
 * @param note the checkpoint, as the log published it.
 * @throws FMG_ERR_LOG_INCONSISTENT when it does not, or when the checkpoint is not one of this log's key.
 */
export async function requireKnownCheckpoint (log: Pick<AuditLog, 'checkpoint' | 'directory' | 'verifierKey'>, note: Uint8Array): Promise<void> {
  const known = openCheckpoint(note, parseVerifierKey(log.verifierKey))
  const { size } = await log.checkpoint()
  if (known.size === 0) return
  if (known.size > size || !hasRoot(known, await tileHashes(log.directory, size)(0, known.size))) {
    throw guardError('FMG_ERR_LOG_INCONSISTENT', { detail: `the log does not go on from the checkpoint of ${known.size} records that was kept elsewhere` })
  }
}
