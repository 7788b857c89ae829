import { watch } from 'node:fs'
import path from 'node:path'
import { createSecureContext, Server, type TlsOptions } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import { readNamedFile, readPrivateFile } from '../files.ts'
import { mutualTls } from '../plugins/mutual-tls.ts'

/** Where the server's certificate (with its chain) and its key stand, in PEM. */
export interface TlsFiles {
  readonly keyFile: string
  readonly certificateFile: string
  /** Whose certificates clients are asked for, up to the roots, in PEM. Left out, they are not asked. */
  readonly clientAuthorities?: readonly Buffer[]
}

/** Options of a TLS listener. */
export type TlsPair = TlsOptions & { readonly key: Buffer, readonly cert: Buffer }

/**
 * Reads them.
 * @throws FMG_ERR_FILE when one cannot be read, when others may read the key, or when the two do not belong together.
 */
export async function readTls ({ keyFile, certificateFile, clientAuthorities }: TlsFiles): Promise<TlsPair> {
  const key = await readPrivateFile(keyFile)
  const cert = await readNamedFile(certificateFile)
  const asked = clientAuthorities === undefined ? {} : mutualTls({ key, certificate: cert, clientAuthorities })
  const context = { ...asked, key, cert, minVersion: 'TLSv1.3' } as const
  try {
    createSecureContext(context)
  } catch (cause) {
    throw guardError('FMG_ERR_FILE', { detail: `${keyFile} and ${certificateFile} are no pair`, cause })
  }
  return context
}

/**
 * Takes new files for connections to come as soon as they are a pair; those that are open live on. Whole folders are watched, for
 * renewed certificates are often put in place by a rename, or by a link above them.
 */
export function reloadTls (app: FastifyInstance, files: TlsFiles): void {
  // Fastify's type speaks of plain HTTP alone.
  const server: unknown = app.server
  if (server instanceof Server) watchFiles(server, app, files)
}

function watchFiles (listener: Server, app: FastifyInstance, files: TlsFiles): void {
  let last: TlsPair | undefined
  let reloading = Promise.resolve()
  let isWaiting = false

  async function reload (): Promise<void> {
    isWaiting = false
    try {
      const next = await readTls(files)
      if (last?.key.equals(next.key) === true && last.cert.equals(next.cert)) return
      listener.setSecureContext(next)
      last = next
      app.log.info({ certificate: files.certificateFile }, 'certificate reloaded')
    } catch (error) {
      app.log.error({ err: error }, 'the certificate stays as it was')
    }
  }

  function noteChange (): void {
    if (isWaiting) return
    isWaiting = true
    reloading = reloading.then(reload)
  }

  const folders = new Set([files.keyFile, files.certificateFile].map((file) => path.dirname(path.resolve(file))))
  const watchers = [...folders].map((folder) => watch(folder, { persistent: false }, noteChange))
  app.addHook('onClose', async () => {
    for (const watcher of watchers) watcher.close()
    await reloading
  })
}
