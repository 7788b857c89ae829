import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { AuditLog } from '../audit/log.ts'
import type { AuditRecord } from '../audit/record.ts'
import { watchPolicy, type WatchedPolicy } from '../authz/watched-policy.ts'
import { readNamedFile } from '../files.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** The policy that the configuration names, watched until the server closes. */
export async function openPolicy (app: FastifyInstance, { policy: file, policyKeyFiles, policySignatures, limits: { tiers } }: ServerConfig, data: DataFolder): Promise<WatchedPolicy> {
  const policy = await watchPolicy({
    file: file ?? data.policy,
    tiers: Object.keys(tiers),
    ...policyKeyFiles !== undefined && { trustedKeys: await Promise.all(policyKeyFiles.map(readNamedFile)), requiredSignatures: policySignatures },
    onError: (error) => { app.log.error({ err: error }, 'the policy stays as it was') }
  })
  app.addHook('onClose', async () => { await policy.close() })
  return policy
}

/** The candidate that the configuration names, watched like the policy. One that is wrong from the start keeps nobody from starting: it is left out. */
export async function openShadow (app: FastifyInstance, { shadowPolicy: file, limits: { tiers } }: ServerConfig): Promise<WatchedPolicy | undefined> {
  if (file === undefined) return undefined
  try {
    const shadow = await watchPolicy({ file, tiers: Object.keys(tiers), onError: (error) => { app.log.error({ err: error }, 'the shadow policy stays as it was') } })
    app.addHook('onClose', async () => { await shadow.close() })
    return shadow
  } catch (error) {
    app.log.error({ err: error }, 'the shadow policy is left out until the next start')
    return undefined
  }
}

/** Leaves a record of the policy as it is now, and of every one that takes its place: the digests of both, and whose keys signed. */
export function recordReloads (policy: WatchedPolicy, log: AuditLog, logger: FastifyBaseLogger): void {
  const note = (action: string, after: string, detail: AuditRecord['detail'], text: string): void => {
    log.append({ timestamp: new Date().toISOString(), action, status: 'success', policy: after, detail }, (error) => {
      if (error === null) logger.info({ policy: after }, text)
      else logger.error({ err: error, policy: after }, `${text}, and not recorded`)
    })
  }
  const signedBy = (signers: readonly string[]): readonly string[] | undefined => signers.length === 0 ? undefined : signers
  note('policy:load', policy.current.id, { signed_by: signedBy(policy.signers) }, 'policy loaded')
  policy.whenChanged(({ before, after, signers }) => { note('policy:reload', after, { before, signed_by: signedBy(signers) }, 'policy reloaded') })
}
