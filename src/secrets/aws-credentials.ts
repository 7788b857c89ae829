import type { AwsCredentials } from './aws-signature.ts'
import { askStore, storeFailure, type ReadPatience } from './ask-store.ts'
import { containerCredentials } from './aws-container-credentials.ts'
import { profileCredentials } from './aws-profile.ts'
import { webIdentityCredentials } from './aws-web-identity.ts'

/** Where credentials of AWS come from. Asked for each question, but for those that say when they end: these are kept until shortly before that. */
export type AwsCredentialSource = (until: number) => Promise<AwsCredentials>

export interface AwsCredentialChainOptions {
  readonly environment: NodeJS.ProcessEnv
  readonly region: string
  readonly patience: ReadPatience
}

/**
 * Finds credentials as AWS's own tools do, by the variables and files that they know: an access key in the environment; a web identity; the profile in the shared
 * files; the endpoint of a container. Not from the metadata of an instance, which every program on it can reach, and not by the profiles that lead to another role.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `credentials-missing` when there are none.
 */
export function awsCredentialChain ({ environment, region, patience }: AwsCredentialChainOptions): AwsCredentialSource {
  const ask = askStore(patience)
  return async (until) => {
    const credentials = fromEnvironment(environment) ??
      await webIdentityCredentials(environment, region, ask, until) ??
      await profileCredentials(environment) ??
      await containerCredentials(environment, ask, until)
    if (credentials === undefined) throw storeFailure('credentials-missing', 'no credentials in the environment, the shared files, or at an endpoint of a container')
    return credentials
  }
}

function fromEnvironment ({ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken }: NodeJS.ProcessEnv): AwsCredentials | undefined {
  return accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey, sessionToken } : undefined
}

/** What cannot stand in a header would be quoted, whole, by the error of who makes the header. */
function requireText ({ accessKeyId, secretAccessKey, sessionToken = 'none' }: AwsCredentials): void {
  if (![accessKeyId, secretAccessKey, sessionToken].every((text) => /^[\x21-\x7e]+$/.test(text))) throw storeFailure('secret-no-text', 'credentials that are not words of printable text')
}

/** Keeps what ends at a known time. */
export interface CredentialKeeper {
  readonly current: AwsCredentialSource
  /** These were refused. Whether others can be had, or were by now for somebody else: where they are of those that end. */
  readonly drop: (credentials: AwsCredentials) => boolean
}

// AWS's own tools begin to look for new ones five minutes before the end.
const marginMs = 300_000

/** One refresh at a time for all; nobody waits for it while the last ones are good. */
export function credentialKeeper (source: AwsCredentialSource, now: () => number): CredentialKeeper {
  let held: { readonly credentials: AwsCredentials, readonly endsAt: number, readonly refreshAt: number } | undefined
  let pending: Promise<AwsCredentials> | undefined

  async function take (until: number): Promise<AwsCredentials> {
    const credentials = await source(until)
    requireText(credentials)
    const { expiresAt } = credentials
    held = expiresAt === undefined ? undefined : { credentials, endsAt: expiresAt, refreshAt: expiresAt - Math.min(marginMs, (expiresAt - now()) / 3) }
    return credentials
  }

  async function refresh (until: number): Promise<AwsCredentials> {
    pending ??= take(until).finally(() => { pending = undefined })
    return await pending
  }

  return {
    async current (until) {
      if (held === undefined || held.endsAt <= now()) return await refresh(until)
      // What fails here fails again, and is told, once these have ended.
      if (held.refreshAt <= now()) refresh(until).catch(() => undefined)
      return held.credentials
    },
    drop (credentials) {
      if (held?.credentials === credentials) held = undefined
      return credentials.expiresAt !== undefined
    }
  }
}
