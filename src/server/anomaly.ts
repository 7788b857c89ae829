import { guardError } from '../errors.ts'
import { readPrivateFile } from '../files.ts'
import { ensurePepper, readPepper } from '../pepper.ts'
import type { AnomalyOptions } from '../plugins/anomaly-options.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** What the rules are told by the configuration. */
export async function anomalyOf ({ anomaly }: ServerConfig, data: DataFolder): Promise<Omit<AnomalyOptions, 'mode'>> {
  const { reactions, tightRequestsAMinute, webhook, sketches: _taken, sketchKeyFile: _key, learnDays, ...watch } = anomaly
  return {
    watch,
    reactions,
    tightRequestsAMinute,
    ...webhook !== undefined && { webhook: { url: webhook.url, secret: await webhookSecret(webhook.secretFile) } },
    ...learnDays > 0 && { learnFrom: { directory: data.audit, days: learnDays } }
  }
}

/** What inputs are sketched under; `undefined` where they are not. */
export async function sketchesOf ({ anomaly: { sketches, sketchKeyFile } }: ServerConfig, data: DataFolder): Promise<AuditOptions['sketches']> {
  if (!sketches) return undefined
  if (sketchKeyFile === undefined) await ensurePepper(data.sketchKey)
  return { secret: await readPepper(sketchKeyFile ?? data.sketchKey) }
}

/** Standard Webhooks 1.0.0: `whsec_` and base64. */
async function webhookSecret (file: string): Promise<Buffer> {
  const [, secret] = /^whsec_([A-Za-z0-9+/]+=*)\s*$/.exec((await readPrivateFile(file)).toString('latin1')) ?? []
  if (secret === undefined) throw guardError('FMG_ERR_FILE', { detail: `${file} holds no secret of a webhook: whsec_ and base64` })
  return Buffer.from(secret, 'base64')
}
