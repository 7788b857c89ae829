import { constants, createCipheriv, createDecipheriv, createHash, createHmac, generateKeyPairSync, privateDecrypt, randomBytes, type KeyObject } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { canonicalJson } from '../../src/encoding.ts'
import type { AwsCredentials } from '../../src/secrets/aws-signature.ts'
import type { AwsPlace } from './aws.ts'
import { fromBase64, memberOf, textOf } from './json.ts'
import { listen, textIn } from './listen.ts'

export interface AwsDouble extends AwsPlace {
  readonly stop: () => void
  /** Actions in the order in which they were asked for. */
  readonly asked: string[]
  /** What is answered instead of what would be, while it is there. */
  instead: ((action: string) => { readonly status: number, readonly body: string } | undefined) | undefined
  /** Milliseconds by which its clock is ahead. */
  ahead: number
  readonly rsaPrivateKey: KeyObject
  /** Access keys that are good, by their id. */
  readonly known: Map<string, AwsCredentials>
}

type Answer = readonly [status: number, body: object | string]

const region = 'eu-central-1'
const arn = (name: string): string => `arn:aws:kms:${region}:111122223333:key/${name}`

/**
 * KMS, STS and the endpoint of a container, as docs.aws.amazon.com has them: kms/latest/APIReference (Encrypt, Decrypt, GetPublicKey),
 * STS/latest/APIReference (AssumeRoleWithWebIdentity), sdkref/latest/guide/feature-container-credentials. Signatures are verified from the request alone
 * (IAM/latest/UserGuide/reference_sigv-create-signed-request). The suite that it passes is passed by moto, which verifies them with AWS's own botocore.
 */
export async function awsDouble (t: Test): Promise<AwsDouble> {
  const symmetric = new Map(['model', 'other'].map((name) => [arn(name), randomBytes(32)]))
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const known = new Map<string, AwsCredentials>()

  function newCredentials (lifetimeMs?: number): AwsCredentials {
    const [accessKeyId, secretAccessKey, sessionToken] = [`ASIA${randomBytes(8).toString('hex')}`, randomBytes(30).toString('base64'), randomBytes(60).toString('base64')]
    const credentials = lifetimeMs === undefined ? { accessKeyId, secretAccessKey } : { accessKeyId, secretAccessKey, sessionToken, expiresAt: Math.ceil((Date.now() + double.ahead + lifetimeMs) / 1000) * 1000 }
    known.set(accessKeyId, credentials)
    return credentials
  }

  /** What is wrong with who asks; nothing if all is right. */
  function refusal (request: IncomingMessage, body: string): string | undefined {
    const now = Date.now() + double.ahead
    const { authorization = '', 'x-amz-date': time = '', 'x-amz-security-token': sessionToken } = request.headers
    const [, id = '', scope = '', names = '', signature = ''] = /^AWS4-HMAC-SHA256 Credential=(\w+)\/([\w/-]+), SignedHeaders=([\w;-]+), Signature=([0-9a-f]{64})$/.exec(authorization) ?? []
    const credentials = known.get(id)
    if (credentials === undefined || credentials.sessionToken !== sessionToken) return 'UnrecognizedClientException'
    if ((credentials.expiresAt ?? Infinity) <= now) return 'ExpiredTokenException'
    const at = String(time)
    const asked = Date.parse(at.replace(/^(....)(..)(..T..)(..)/, '$1-$2-$3:$4:'))
    if (!(Math.abs(asked - now) < 300_000) || scope !== `${at.slice(0, 8)}/${region}/kms/aws4_request`) return 'InvalidSignatureException'
    if (!['content-type', 'host', 'x-amz-date', 'x-amz-target'].every((name) => names.split(';').includes(name))) return 'IncompleteSignatureException'
    const headers = names.split(';').map((name) => `${name}:${String(request.headers[name]).trim()}\n`).join('')
    const canonical = `${request.method ?? ''}\n${request.url ?? ''}\n\n${headers}\n${names}\n${createHash('sha256').update(body).digest('hex')}`
    let key: Buffer | string = `AWS4${credentials.secretAccessKey}`
    for (const part of [...scope.split('/'), `AWS4-HMAC-SHA256\n${at}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`]) key = createHmac('sha256', key).update(part).digest()
    return Buffer.from(key).toString('hex') === signature ? undefined : 'InvalidSignatureException'
  }

  function failed (type: string, quoted: unknown): Answer {
    return [400, { __type: type, message: JSON.stringify(quoted) }]
  }

  function kms (action: string, question: unknown): Answer {
    const keyId = textOf(memberOf(question, 'KeyId'))
    const id = keyId === 'alias/model' ? arn('model') : keyId
    if (id === arn('denied')) return failed('AccessDeniedException', question)
    const key = symmetric.get(id)
    const context = Buffer.from(canonicalJson(memberOf(question, 'EncryptionContext') ?? null))
    if (key === undefined && id !== arn('rsa')) return failed('NotFoundException', question)
    if (action === 'GetPublicKey') return id === arn('rsa') ? [200, { KeyId: id, PublicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'), KeySpec: 'RSA_2048' }] : failed('UnsupportedOperationException', question)
    if (action === 'Encrypt') {
      if (key === undefined) return failed('InvalidKeyUsageException', question)
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(context)
      const text = [cipher.update(fromBase64(memberOf(question, 'Plaintext'))), cipher.final()]
      return [200, { KeyId: id, CiphertextBlob: Buffer.concat([createHash('sha256').update(id).digest(), nonce, ...text, cipher.getAuthTag()]).toString('base64') }]
    }
    const bytes = fromBase64(memberOf(question, 'CiphertextBlob'))
    try {
      if (key === undefined) {
        if (memberOf(question, 'EncryptionAlgorithm') !== 'RSAES_OAEP_SHA_256' || context.toString() !== 'null') return failed('InvalidKeyUsageException', question)
        return [200, { KeyId: id, Plaintext: privateDecrypt({ key: privateKey, oaepHash: 'sha256', padding: constants.RSA_PKCS1_OAEP_PADDING }, bytes).toString('base64') }]
      }
      if (!bytes.subarray(0, 32).equals(createHash('sha256').update(id).digest())) return failed('IncorrectKeyException', question)
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(32, 44)).setAAD(context).setAuthTag(bytes.subarray(-16))
      return [200, { KeyId: id, Plaintext: Buffer.concat([decipher.update(bytes.subarray(44, -16)), decipher.final()]).toString('base64') }]
    } catch {
      return failed('InvalidCiphertextException', question)
    }
  }

  function sts (form: URLSearchParams): Answer {
    if (form.get('WebIdentityToken') !== double.webIdentityToken || form.get('RoleArn') !== double.roleArn || form.get('Version') !== '2011-06-15' || form.get('RoleSessionName') === null) {
      return [400, `<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>${String(form)}</Message></Error></ErrorResponse>`]
    }
    const { accessKeyId, secretAccessKey, sessionToken = '', expiresAt = 0 } = newCredentials(3_600_000)
    return [200, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
      <SessionToken>${sessionToken}</SessionToken><SecretAccessKey>${secretAccessKey}</SecretAccessKey><Expiration>${new Date(expiresAt).toISOString()}</Expiration><AccessKeyId>${accessKeyId}</AccessKeyId>
    </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`]
  }

  function container (authorization: string | undefined): Answer {
    if (authorization !== 'pod-token') return [401, { message: `no ${String(authorization)}` }]
    const { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token, expiresAt = 0 } = newCredentials(3_600_000)
    return [200, { AccessKeyId, SecretAccessKey, Token, Expiration: new Date(expiresAt).toISOString() }]
  }

  function answer (request: IncomingMessage, action: string, text: string): Answer {
    if (request.method === 'GET') return container(request.headers.authorization)
    if (request.headers['content-type'] === 'application/x-www-form-urlencoded') return sts(new URLSearchParams(text))
    const refused = refusal(request, text)
    return refused === undefined ? kms(action, JSON.parse(text)) : failed(refused, request.headers)
  }

  const { url, stop } = await listen(t, (request, response) => {
    void textIn(request).then((text) => {
      const target = request.headers['x-amz-target']
      const action = typeof target === 'string' ? target.replace(/^TrentService\./, '') : request.method === 'GET' ? 'container' : 'sts'
      double.asked.push(action)
      const instead = double.instead?.(action)
      if (instead !== undefined) {
        // Status 0: it takes the question, and says nothing.
        if (instead.status > 0) response.writeHead(instead.status).end(instead.body)
        return
      }
      const [status, body] = answer(request, action, text)
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body))
    })
  })
  const double: AwsDouble = {
    endpoint: url,
    stop,
    region,
    asked: [],
    instead: undefined,
    ahead: 0,
    known,
    keys: { model: arn('model'), other: arn('other'), rsa: arn('rsa') },
    credentials: { accessKeyId: 'AKIADOUBLE', secretAccessKey: randomBytes(30).toString('base64') },
    rsaPrivateKey: privateKey,
    webIdentityToken: `header.${randomBytes(40).toString('base64url')}.signature`,
    roleArn: 'arn:aws:iam::111122223333:role/model-guard'
  }
  known.set(double.credentials.accessKeyId, double.credentials)
  return double
}
