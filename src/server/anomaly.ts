import { optionInvalid } from '../options.ts'
import { ensurePepper, readPepper } from '../pepper.ts'
import type { AnomalyOptions } from '../plugins/anomaly-options.ts'
import type { AuditOptions } from '../plugins/audit.ts'
import type { SecretSource } from '../secrets/secret-source.ts'
import type { ServerConfig } from './config.ts'
import type { DataFolder } from './data-folder.ts'

/** What the rules are told by the configuration. */
export async function anomalyOf ({ anomaly }: ServerConfig, data: DataFolder): Promise<Omit<AnomalyOptions, 'mode'>> {
  const { reactions, tightRequestsAMinute, webhook, sketches: _taken, sketchKey: _key, learnDays, ...watch } = anomaly
  return {
    watch,
    reactions,
    tightRequestsAMinute,
    ...webhook !== undefined && { webhook: { url: webhook.url, secret: await webhookSecret(webhook.secret) } },
    ...learnDays > 0 && { learnFrom: { directory: data.audit, days: learnDays } }
  }
}

/** What inputs are sketched under; `undefined` where they are not. */
export async function sketchesOf ({ anomaly: { sketches, sketchKey } }: ServerConfig, data: DataFolder): Promise<AuditOptions['sketches']> {
  if (!sketches) return undefined
  if (sketchKey === undefined) await ensurePepper(data.sketchKey)
  return { secret: await readPepper(sketchKey ?? data.sketchKey) }
}

/** Standard Webhooks 1.0.0: `whsec_` and base64. */
async function webhookSecret (source: SecretSource): Promise<Buffer> {
  const [, secret] = /^whsec_([A-Za-z0-9+/]+=*)\s*$/.exec(Buffer.from(await source.read()).toString('latin1')) ?? []
  if (secret === undefined) throw optionInvalid('config.anomaly.webhook.secret', 'a reference to the secret of a webhook: whsec_ and base64', 'something else')
  return Buffer.from(secret, 'base64')
}
