import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { AuditLog } from '../audit/log.ts'
import { watchPolicy, type WatchedPolicy } from '../authz/watched-policy.ts'
import { readNamedFile } from '../files.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** The policy that the configuration names, watched until the server closes. */
export async function openPolicy (app: FastifyInstance, { policy: file, policyKeyFiles }: ServerConfig, data: DataFolder): Promise<WatchedPolicy> {
  const policy = await watchPolicy({
    file: file ?? data.policy,
    ...policyKeyFiles !== undefined && { trustedKeys: await Promise.all(policyKeyFiles.map(readNamedFile)) },
    onError: (error) => { app.log.error({ err: error }, 'the policy stays as it was') }
  })
  app.addHook('onClose', async () => { await policy.close() })
  return policy
}

/** Leaves a record of every policy that takes the place of another, with the digests of both. */
export function recordReloads (policy: WatchedPolicy, log: AuditLog, logger: FastifyBaseLogger): void {
  policy.whenChanged(({ before, after }) => {
    log.append({ timestamp: new Date().toISOString(), action: 'policy:reload', status: 'success', policy: after, detail: { before } }, (error) => {
      if (error === null) logger.info({ policy: after }, 'policy reloaded')
      else logger.error({ err: error, policy: after }, 'policy reloaded, and not recorded')
    })
  })
}
