import { createHash, createHmac } from 'node:crypto'

/** An access key of AWS. */
export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
  /** Milliseconds since 1970. Default: they do not end. */
  readonly expiresAt?: number | undefined
}

/** A POST to `/` of a host, which is how KMS is asked. */
export interface AwsRequest {
  readonly host: string
  readonly service: string
  readonly region: string
  /** Those that are signed, by names in small letters. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly credentials: AwsCredentials
  /** Milliseconds since 1970. */
  readonly now: number
}

/** The headers of a request with those that sign it: Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html). */
export function signedHeaders ({ host, service, region, headers, body, credentials, now }: AwsRequest): Record<string, string> {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials
  const time = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')
  const sent = { ...headers, 'x-amz-date': time, ...sessionToken !== undefined && { 'x-amz-security-token': sessionToken } }
  const signed = Object.entries({ ...sent, host }).sort(([a], [b]) => a < b ? -1 : 1)
  const names = signed.map(([name]) => name).join(';')
  const canonical = ['POST', '/', '', ...signed.map(([name, value]) => `${name}:${value}`), '', names, sha256(body)].join('\n')
  const scope = [time.slice(0, 8), region, service, 'aws4_request']
  const key = scope.reduce<Buffer>((last, part) => hmac(last, part), Buffer.from(`AWS4${secretAccessKey}`))
  const signature = hmac(key, ['AWS4-HMAC-SHA256', time, scope.join('/'), sha256(canonical)].join('\n')).toString('hex')
  return { ...sent, authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope.join('/')}, SignedHeaders=${names}, Signature=${signature}` }
}

function sha256 (text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac (key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
