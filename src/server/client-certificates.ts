import type { FastifyInstance } from 'fastify'
import type { Authenticator } from '../authn/authenticator.ts'
import type { CertificateAuthorityOptions } from '../authn/certificate-authority.ts'
import { fileRevocationList } from '../authn/file-revocation-list.ts'
import { mtls } from '../authn/mtls.ts'
import { readNamedFile } from '../files.ts'
import type { ProxyCertificateOptions } from '../plugins/proxy-certificate.ts'
import type { ServerConfig } from './config.ts'

type ClientCertificates = NonNullable<ServerConfig['clientCertificates']>

/** What a listener must ask clients for, to be shown their certificates; in PEM. */
export async function clientAuthorities ({ authorities, aboveFiles }: ClientCertificates): Promise<readonly Buffer[]> {
  return await Promise.all([...authorities.map(({ certificateFile }) => certificateFile), ...aboveFiles].map(readNamedFile))
}

/** The authenticator of clients' certificates; its revocation lists are watched until the server closes. */
export async function clientCertificateAuthenticator (app: FastifyInstance, { authorities }: ClientCertificates): Promise<Authenticator> {
  const opened: CertificateAuthorityOptions[] = []
  for (const authority of authorities) opened.push(await openAuthority(app, authority))
  return mtls({ authorities: opened, onExpiring: (expiring) => { app.log.warn(expiring, 'expires soon') } })
}

/** Option `proxyCertificate` of `authenticate`, where a proxy ends TLS. */
export function proxyCertificateOf (config: ClientCertificates | undefined): { readonly proxyCertificate?: ProxyCertificateOptions } {
  return config?.proxy === undefined ? {} : { proxyCertificate: config.proxy }
}

async function openAuthority (app: FastifyInstance, { certificateFile, trustDomain, identities, revocationListFile }: ClientCertificates['authorities'][number]): Promise<CertificateAuthorityOptions> {
  const certificate = await readNamedFile(certificateFile)
  if (revocationListFile === undefined) return { certificate, trustDomain, identities }
  const revocationList = await fileRevocationList({
    file: revocationListFile,
    authority: certificate,
    onError: (error) => { app.log.error({ err: error }, 'the revocation list stays as it was') }
  })
  app.addHook('onClose', async () => { await revocationList.close() })
  return { certificate, trustDomain, identities, revocationList }
}
