import { readUrl } from '../bounded-fetch.ts'
import { anyThat, functionOf, optional, optionInvalid, string, withDefault, type ReadShape, type Reader } from '../options.ts'
import { askStore, patienceShape, type StoreAnswer, type StorePatience } from './ask-store.ts'
import { awsCredentialChain, credentialKeeper, type AwsCredentialSource } from './aws-credentials.ts'
import { awsHost } from './aws-host.ts'
import { inTime } from './in-time.ts'
import { signedHeaders, type AwsCredentials } from './aws-signature.ts'

/** Where KMS is, and as whom it is asked. */
export interface AwsKmsOptions extends StorePatience {
  readonly region: string
  /** Default: as {@link awsCredentialChain} finds them. */
  readonly credentials?: AwsCredentialSource | undefined
  /** Default: that of the region. */
  readonly endpoint?: string | undefined
  /** Where the variables of AWS are. Default: this process's. */
  readonly environment?: NodeJS.ProcessEnv | undefined
  /** Milliseconds since 1970. Default: this machine's clock, which AWS lets be five minutes off. */
  readonly now?: (() => number) | undefined
}

const readEndpoint: Reader<string> = (value, path) => {
  const url = new URL(readUrl(value, path))
  // The path is signed, and KMS has but one.
  if (url.pathname !== '/' || url.search !== '') throw optionInvalid(path, 'a URL without path and query', value)
  return url.origin
}

/** Reads {@link AwsKmsOptions}, to be put among the options of a key. */
export const awsKmsShape = {
  ...patienceShape,
  // It becomes part of a host.
  region: string(/^[a-z]+(-[a-z0-9]+)+$/, 'a region, as in eu-central-1'),
  credentials: optional(functionOf<AwsCredentialSource>()),
  endpoint: optional(readEndpoint),
  environment: withDefault(anyThat((value): value is NodeJS.ProcessEnv => typeof value === 'object' && value !== null, 'variables'), process.env),
  now: withDefault(functionOf<() => number>(), Date.now)
}

/**
 * Asks KMS for one action.
 * @throws FMG_ERR_KEY_UNAVAILABLE as {@link AskStore}, and when there are no credentials.
 */
export type AskKms = (action: 'Encrypt' | 'Decrypt' | 'GetPublicKey', question: Readonly<Record<string, unknown>>) => Promise<StoreAnswer>

/** What credentials that are not good any more, or not yet known everywhere, are answered. */
const refusals = ['ExpiredTokenException', 'UnrecognizedClientException', 'InvalidClientTokenId']

/** A client of KMS in one region (docs.aws.amazon.com/kms/latest/APIReference). */
export function askKms ({ region, credentials, endpoint = `https://${awsHost('kms', region)}`, environment, now, ...patience }: ReadShape<typeof awsKmsShape>): AskKms {
  const ask = askStore(patience)
  const { clock, timeoutMs } = patience
  const keeper = credentialKeeper(credentials ?? awsCredentialChain({ environment, region, patience }), now)
  // A refresh that another question began ends by that one's time, and a source of one's own may never answer.
  const credentialsUntil = async (until: number): Promise<AwsCredentials> => await inTime(keeper.current(until), until - clock())
  const { host } = new URL(endpoint)

  async function askAs (credentials: AwsCredentials, action: string, body: string, until: number): Promise<StoreAnswer> {
    const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `TrentService.${action}` }
    return await ask(`${endpoint}/`, {
      method: 'POST',
      body,
      headers: () => signedHeaders({ host, service: 'kms', region, headers, body, credentials, now: now() }),
      until,
      isBusy: (answer) => errorOf(answer) === 'ThrottlingException'
    })
  }

  return async (action, question) => {
    const until = clock() + timeoutMs
    const body = JSON.stringify(question)
    const used = await credentialsUntil(until)
    const answer = await askAs(used, action, body, until)
    if (!refusals.includes(errorOf(answer)) || !keeper.drop(used)) return answer
    // Once, and in what is left of the time: who is refused with new ones too would be again.
    return await askAs(await credentialsUntil(until), action, body, until)
  }
}

/** The name of an error of KMS; empty where there is none. */
export function errorOf ({ status, body }: StoreAnswer): string {
  return status < 400 ? '' : /"__type"\s*:\s*"(?:[\w.]+#)?(\w+)"/.exec(body.toString())?.[1] ?? ''
}
