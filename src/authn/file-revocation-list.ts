import { guardError } from '../errors.ts'
import { functionOf, object, string, withDefault } from '../options.ts'
import { readAuthorityCertificate, type AuthorityCertificate } from './authority-certificate.ts'
import type { CertificateFacts } from './client-certificate.ts'
import { readNamedFile } from '../files.ts'
import { followFile } from '../followed-file.ts'
import { parseRevocationList, type RevocationList } from './revocation-list.ts'

export interface FileRevocationListOptions {
  /** PEM or DER. */
  readonly file: string
  /** The certificate of the authority that signs it: as in `mtls`. */
  readonly authority: AuthorityCertificate
  /** Told when a changed file cannot be taken; the list read last stays, until its own `nextUpdate`. Default: a process warning. */
  readonly onError?: (error: unknown) => void
}

export interface FileRevocationList extends RevocationList {
  /** Stops watching. */
  close (): Promise<void>
}

const readOptions = object({
  file: string(),
  authority: readAuthorityCertificate,
  onError: withDefault(functionOf<(error: unknown) => void>(), warn)
})

/**
 * A revocation list in a file, read again whenever the file changes: what is revoked in it is refused from the next request on, on
 * connections that are open already and on resumed ones too.
 * @throws FMG_ERR_FILE when it cannot be read or is not this authority's, FMG_ERR_OPTION_INVALID.
 */
export async function fileRevocationList (options: FileRevocationListOptions): Promise<FileRevocationList> {
  const { file, authority, onError } = readOptions(options, 'fileRevocationList')
  let current = await load(file, authority)
  // Reads it once more, now that it is watched.
  const followed = await followFile({ file, heartbeatMs: 1000, read, onError, clock: () => performance.now() })

  async function read (): Promise<void> {
    const next = await load(file, authority)
    // Whoever can replace the file could otherwise bring back who was revoked since, with a list that was genuine once.
    if (next.thisUpdate < current.thisUpdate) throw guardError('FMG_ERR_FILE', { detail: 'the revocation list is older than the one before' })
    current = next
  }

  return {
    authority: current.authority,
    get thisUpdate () { return current.thisUpdate },
    get nextUpdate () { return current.nextUpdate },
    isRevoked: (serial) => current.isRevoked(serial),
    close: async () => { await followed.close() }
  }
}

async function load (file: string, authority: CertificateFacts): Promise<RevocationList> {
  return parseRevocationList(await readNamedFile(file), authority)
}

function warn (error: unknown): void {
  process.emitWarning(String(error))
}
