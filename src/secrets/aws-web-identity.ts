import { readUrl } from '../bounded-fetch.ts'
import { statusFailure, storeFailure, type AskStore } from './ask-store.ts'
import { awsHost } from './aws-host.ts'
import type { AwsCredentials } from './aws-signature.ts'
import { readSecretText } from './secret-text.ts'
import { sharedFile } from './shared-file.ts'

/**
 * Credentials of the role that STS gives for a token of somebody else, a pod's for instance (AssumeRoleWithWebIdentity); nothing where the environment names no token.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `store-denied` when the token is not good for the role; and as {@link AskStore}.
 */
export async function webIdentityCredentials (environment: NodeJS.ProcessEnv, region: string, ask: AskStore, until: number): Promise<AwsCredentials | undefined> {
  const { AWS_WEB_IDENTITY_TOKEN_FILE: file, AWS_ROLE_ARN: role, AWS_ROLE_SESSION_NAME: session = 'fastify-model-guard' } = environment
  if (!file || !role) return undefined
  const token = await readSecretText(sharedFile(file))
  const form = { Action: 'AssumeRoleWithWebIdentity', Version: '2011-06-15', RoleArn: role, RoleSessionName: session, WebIdentityToken: token }
  const answer = await ask(readUrl(environment.AWS_ENDPOINT_URL_STS ?? `https://${awsHost('sts', region)}`, 'AWS_ENDPOINT_URL_STS'), {
    method: 'POST',
    // The XML is its oldest form, and everybody's who speaks for STS.
    headers: { accept: 'text/xml', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
    until
  })
  if (answer.status !== 200) throw statusFailure(answer)
  return readCredentials(answer.body)
}

function readCredentials (body: Buffer): AwsCredentials {
  const text = body.toString()
  body.fill(0)
  const [accessKeyId, secretAccessKey, sessionToken, expiration = ''] = ['AccessKeyId', 'SecretAccessKey', 'SessionToken', 'Expiration']
    .map((name) => new RegExp(`<${name}>([\\w+/=:.-]+)</${name}>`).exec(text)?.[1])
  const expiresAt = Date.parse(expiration)
  if (accessKeyId === undefined || secretAccessKey === undefined || sessionToken === undefined || Number.isNaN(expiresAt)) throw storeFailure('store-garbage', 'an answer of STS without credentials')
  return { accessKeyId, secretAccessKey, sessionToken, expiresAt }
}
