import { isTrustworthyUrl } from '../bounded-fetch.ts'
import { objectWith, optionInvalid, string, type Reader } from '../options.ts'
import { readAnswer, statusFailure, type AskStore } from './ask-store.ts'
import type { AwsCredentials } from './aws-signature.ts'
import type { SecretSource } from './secret-source.ts'
import { readSecretText } from './secret-text.ts'
import { sharedFile } from './shared-file.ts'

// docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html: ECS, and the agent of EKS. Over http the token goes to nobody else.
const linkLocalHosts = ['169.254.170.2', '169.254.170.23', '[fd00:ec2::23]']

const readTime: Reader<number> = (value, path) => {
  const time = Date.parse(string()(value, path))
  if (Number.isNaN(time)) throw optionInvalid(path, 'a time', value)
  return time
}
const readCredentials = objectWith({ AccessKeyId: string(), SecretAccessKey: string(), Token: string(), Expiration: readTime })

/**
 * Credentials of the role of this task or pod; nothing where the environment names no endpoint for them.
 * @throws FMG_ERR_OPTION_INVALID for an endpoint that is neither `https:`, nor this machine, nor one of those that ECS and EKS have.
 * @throws FMG_ERR_KEY_UNAVAILABLE as {@link AskStore}, and with reason `store-denied` when the endpoint gives none.
 */
export async function containerCredentials (environment: NodeJS.ProcessEnv, ask: AskStore, until: number): Promise<AwsCredentials | undefined> {
  const url = endpointIn(environment)
  if (url === undefined) return undefined
  const token = tokenIn(environment)
  const answer = await ask(url, { ...token && { headers: { authorization: await readSecretText(token) } }, until })
  if (answer.status !== 200) throw statusFailure(answer)
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken, Expiration: expiresAt } = readAnswer(readCredentials, answer)
  return { accessKeyId, secretAccessKey, sessionToken, expiresAt }
}

function endpointIn ({ AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative, AWS_CONTAINER_CREDENTIALS_FULL_URI: full }: NodeJS.ProcessEnv): string | undefined {
  const name = relative ? 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI' : 'AWS_CONTAINER_CREDENTIALS_FULL_URI'
  const text = relative ? `http://169.254.170.2${relative}` : full
  if (!text) return undefined
  // What does not begin with a slash would go on with the host.
  if (relative?.startsWith('/') === false || (!isTrustworthyUrl(text) && !isLinkLocal(text))) throw optionInvalid(name, 'an https URL, or one of an endpoint of ECS or EKS', text)
  return text
}

function isLinkLocal (text: string): boolean {
  const { protocol, hostname, username, password } = new URL(URL.canParse(text) ? text : 'none:')
  // A password is quoted by the error of who does not send it.
  return protocol === 'http:' && linkLocalHosts.includes(hostname) && username === '' && password === ''
}

function tokenIn ({ AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file, AWS_CONTAINER_AUTHORIZATION_TOKEN: text }: NodeJS.ProcessEnv): SecretSource | undefined {
  if (file) return sharedFile(file)
  return text ? { read: async () => await Promise.resolve(Buffer.from(text)) } : undefined
}
