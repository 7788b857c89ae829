import { randomBytes } from 'node:crypto'
import path from 'node:path'
import t, { type Test } from 'tap'
import { awsKmsKey, type AwsKmsKeyOptions } from '../../src/secrets/aws-kms-key.ts'
import { credentialKeeper } from '../../src/secrets/aws-credentials.ts'
import { signedHeaders, type AwsCredentials } from '../../src/secrets/aws-signature.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { localKey } from '../../src/secrets/local-key.ts'
import { awsDouble, type AwsDouble } from '../helpers/aws-double.ts'
import { startMoto, type AwsPlace } from '../helpers/aws.ts'
import { holdsFaults } from '../helpers/store-faults.ts'

const statement = Buffer.from('fastify-model-guard/v1\nstatement:sha256:0')
const notOpened = { code: 'FMG_ERR_BUNDLE_INVALID', reason: 'unwrap-failed' } as const

function unavailable (reason: string) {
  return { code: 'FMG_ERR_KEY_UNAVAILABLE', statusCode: 503, reason } as const
}

function environmentOf ({ credentials: { accessKeyId, secretAccessKey, sessionToken } }: Pick<AwsPlace, 'credentials'>): NodeJS.ProcessEnv {
  return { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, ...sessionToken !== undefined && { AWS_SESSION_TOKEN: sessionToken } }
}

/** What moto and the double do alike. */
async function suite (t: Test, place: AwsPlace): Promise<void> {
  const { endpoint, region, keys } = place
  const keyOf = (more: Partial<AwsKmsKeyOptions> = {}): KeyProvider => awsKmsKey({ keyId: keys.model, region, endpoint, environment: environmentOf(place), ...more })

  await t.test('a key is wrapped by a symmetric one, and opens for what it was wrapped for alone', async (t) => {
    const bytes = randomBytes(32)
    const wrapped = await keyOf().wrap(bytes, statement)
    t.match(wrapped, { algorithm: 'fastify-model-guard/aws-kms', header: {} })
    t.notOk(Buffer.from(wrapped.encryptedKey).includes(bytes))
    t.ok(bytes.equals(await keyOf().unwrap(wrapped, statement)))
    await t.rejects(keyOf().unwrap(wrapped, Buffer.from('another')), notOpened)
    await t.rejects(keyOf().unwrap({ ...wrapped, encryptedKey: randomBytes(100) }, statement), notOpened)
  })

  await t.test('RSA wraps here, by the public half that is there', async (t) => {
    const { encryptedKey, ...rest } = await keyOf({ keyId: keys.rsa, algorithm: 'RSA-OAEP-256' }).wrap(randomBytes(32), statement)
    t.strictSame([rest, encryptedKey.length], [{ algorithm: 'RSA-OAEP-256', header: {} }, 256])
  })

  await t.test('who is not known, and what is not there, is said as that', async (t) => {
    const stranger = { accessKeyId: place.credentials.accessKeyId, secretAccessKey: 'other' }
    await t.rejects(keyOf({ environment: environmentOf({ credentials: stranger }) }).wrap(randomBytes(32), statement), unavailable('store-denied'))
    await t.rejects(keyOf({ keyId: keys.model.replace(/.{4}$/, 'none') }).wrap(randomBytes(32), statement), unavailable('store-missing'))
  })

  await t.test('a token of somebody else is exchanged for credentials', async (t) => {
    const file = path.join(t.testdir({ token: `${place.webIdentityToken}\n` }), 'token')
    const key = keyOf({ environment: { AWS_WEB_IDENTITY_TOKEN_FILE: file, AWS_ROLE_ARN: place.roleArn, AWS_ENDPOINT_URL_STS: endpoint } })
    const bytes = randomBytes(32)
    await place.letIn?.()
    t.ok(bytes.equals(await key.unwrap(await key.wrap(bytes, statement), statement)))
  })
}

t.test('the double', async (t) => { await suite(t, await awsDouble(t)) })

t.test('moto', async (t) => {
  const place = await startMoto(t)
  if (place === undefined) t.pass('# skip: no Python with moto', { skip: true })
  else await suite(t, place)
})

function keyAt ({ endpoint, region, keys, ...place }: AwsDouble, more: Partial<AwsKmsKeyOptions> = {}): KeyProvider {
  return awsKmsKey({ keyId: keys.model, region, endpoint, environment: environmentOf(place), ...more })
}

t.test('what is wrapped for an RSA key opens in KMS and with its private key, wherever it was wrapped', async (t) => {
  const double = await awsDouble(t)
  const there = keyAt(double, { keyId: double.keys.rsa, algorithm: 'RSA-OAEP-256' })
  const here = localKey({ keyId: there.keyId, algorithm: 'RSA-OAEP-256', key: double.rsaPrivateKey })
  const bytes = randomBytes(32)
  for (const [from, to] of [[there, there], [there, here], [here, there]] as const) {
    t.ok(bytes.equals(await to.unwrap(await from.wrap(bytes, statement), statement)))
  }
})

t.test('whatever goes wrong is told by a code, in time, and nothing that was sent or answered with it', async (t) => {
  const double = await awsDouble(t)
  const { keys, credentials } = double
  const key = randomBytes(32)
  const wrapped = await keyAt(double).wrap(key, statement)
  const rsaKey = keyAt(double, { keyId: keys.rsa, algorithm: 'RSA-OAEP-256' })
  const { code } = unavailable('')
  const folder = t.testdir({ wrong: 'header.wrong.signature' })
  const webIdentity = (file: string): NodeJS.ProcessEnv => ({ AWS_WEB_IDENTITY_TOKEN_FILE: path.join(folder, file), AWS_ROLE_ARN: double.roleArn, AWS_ENDPOINT_URL_STS: double.endpoint })
  const during = (instead: AwsDouble['instead'], work: () => Promise<unknown>) => async () => {
    double.instead = instead
    await work().finally(() => { double.instead = undefined })
  }
  const kept = { accessKeyId: 'ASIAKEPT', secretAccessKey: 'sesame-of-the-kept', sessionToken: 'token-of-the-kept' }
  const unwrap = async (more: Partial<AwsKmsKeyOptions> = {}): Promise<unknown> => await keyAt(double, more).unwrap(wrapped, statement)
  const echo = JSON.stringify({ __type: 'Other', message: credentials.secretAccessKey, Plaintext: `${key.toString('base64')}!` })
  await holdsFaults(t, [
    { name: 'wrong key', work: async () => await unwrap({ keyId: keys.other }), ...notOpened },
    { name: 'wrong associated data', work: async () => await keyAt(double).unwrap(wrapped, Buffer.from('another')), ...notOpened },
    { name: 'what RSA does not open', work: async () => await rsaKey.unwrap({ ...wrapped, encryptedKey: randomBytes(256) }, statement), ...notOpened },
    { name: 'no right to the key', work: async () => await unwrap({ keyId: keys.model.replace('model', 'denied') }), code, reason: 'store-denied' },
    { name: 'no such key', work: async () => await unwrap({ keyId: keys.model.replace('model', 'none') }), code, reason: 'store-missing' },
    { name: 'a key for something else', work: async () => await keyAt(double, { keyId: keys.rsa }).wrap(key, statement), code, reason: 'store-refused' },
    { name: 'no public key', work: async () => await keyAt(double, { algorithm: 'RSA-OAEP-256' }).wrap(key, statement), code, reason: 'store-refused' },
    { name: 'no credentials', work: async () => await unwrap({ environment: { HOME: folder } }), code, reason: 'credentials-missing' },
    { name: 'another secret', work: async () => await unwrap({ environment: environmentOf({ credentials: { ...credentials, secretAccessKey: 'other' } }) }), code, reason: 'store-denied' },
    { name: 'a clock that is wrong', work: async () => await unwrap({ now: () => Date.now() - 301_000 }), code, reason: 'store-denied' },
    { name: 'no token', work: async () => await unwrap({ environment: webIdentity('none') }), code, reason: 'secret-file' },
    { name: 'wrong token', work: async () => await unwrap({ environment: webIdentity('wrong') }), code, reason: 'store-refused' },
    { name: 'garbage of STS', work: during((action) => action === 'sts' ? { status: 200, body: '<Credentials/>' } : undefined, async () => await unwrap({ environment: webIdentity('wrong') })), code, reason: 'store-garbage' },
    { name: 'garbage of a time', work: during((action) => action === 'sts' ? { status: 200, body: '<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken><Expiration>soon</Expiration>' } : undefined, async () => await unwrap({ environment: webIdentity('wrong') })), code, reason: 'store-garbage' },
    { name: 'busy', work: during(() => ({ status: 400, body: JSON.stringify({ __type: 'com.amazonaws.kms#ThrottlingException', message: echo }) }), unwrap), code, reason: 'store-busy' },
    { name: 'internal', work: during(() => ({ status: 500, body: echo }), unwrap), code, reason: 'store-busy' },
    { name: 'slow', work: during(() => ({ status: 0, body: '' }), async () => await unwrap({ timeoutMs: 90 })), code, reason: 'store-slow' },
    { name: 'garbage', work: during(() => ({ status: 200, body: `<${echo}` }), unwrap), code, reason: 'store-garbage' },
    { name: 'garbage of a key', work: during(() => ({ status: 200, body: echo }), unwrap), code, reason: 'store-garbage' },
    { name: 'garbage of a public key', work: during(() => ({ status: 200, body: JSON.stringify({ PublicKey: 'AAAA' }) }), async () => await rsaKey.wrap(key, statement)), code, reason: 'store-garbage' },
    { name: 'another status', work: during(() => ({ status: 404, body: echo }), unwrap), code, reason: 'store-missing' },
    { name: 'garbage of a failure', work: during(() => ({ status: 400, body: credentials.secretAccessKey }), unwrap), code, reason: 'store-refused' },
    {
      name: 'revoked credentials',
      work: async () => {
        double.known.set(kept.accessKeyId, kept)
        const revoked = keyAt(double, { environment: environmentOf({ credentials: kept }) })
        await revoked.unwrap(wrapped, statement)
        double.known.delete(kept.accessKeyId)
        await revoked.unwrap(wrapped, statement)
      },
      code,
      reason: 'store-denied'
    },
    {
      name: 'expired credentials',
      work: async () => {
        double.known.set(kept.accessKeyId, { ...kept, expiresAt: Date.now() + 1000 })
        const ended = keyAt(double, { environment: environmentOf({ credentials: kept }), now: () => Date.now() + double.ahead })
        await ended.unwrap(wrapped, statement)
        double.ahead += 60_000
        await ended.unwrap(wrapped, statement)
      },
      code,
      reason: 'store-denied'
    },
    {
      name: 'down',
      work: async () => {
        double.stop()
        await unwrap()
      },
      code,
      reason: 'store-unreachable'
    }
  ], [key, credentials.secretAccessKey, kept.secretAccessKey, kept.sessionToken, 'header.wrong.signature'])
})

t.test('credentials are found where AWS\'s own tools find them', async (t) => {
  const double = await awsDouble(t)
  const good = double.credentials
  const text = (id: string, secret: string, name = ''): string => `[${name}]\naws_access_key_id = ${id}\r\naws_secret_access_key=${secret}\n`
  const whole = { ...good, accessKeyId: 'ASIAWHOLE', sessionToken: 'whole' }
  double.known.set(whole.accessKeyId, whole)
  const folder = t.testdir({
    empty: {},
    home: { '.aws': { credentials: `# first\n${text('AKIANONE', 'none', 'other')}${text(good.accessKeyId, good.secretAccessKey, 'default')}nested =\n  aws_access_key_id = AKIANONE\n${text('AKIANONE', 'none', 'open').replace(']', '')}` } },
    config: { '.aws': { config: `[default]\naws_access_key_id = AKIANONE\n${text(good.accessKeyId, good.secretAccessKey, 'profile  work')}` } },
    plain: { '.aws': { config: text(good.accessKeyId, good.secretAccessKey, 'default') } },
    token: 'pod-token\n',
    credentials: `${text(whole.accessKeyId, whole.secretAccessKey, 'default')}aws_session_token = whole\n`
  })
  const at = (name: string): string => path.join(folder, name)
  const none = { HOME: at('empty') }
  const wrap = async (environment: NodeJS.ProcessEnv): Promise<unknown> => await keyAt(double, { environment }).wrap(randomBytes(32), statement)
  const found: readonly NodeJS.ProcessEnv[] = [
    environmentOf(double),
    environmentOf({ credentials: whole }),
    { HOME: at('home') },
    { HOME: at('home'), AWS_PROFILE: 'default' },
    { HOME: at('config'), AWS_PROFILE: 'work' },
    { HOME: at('plain') },
    { ...none, AWS_SHARED_CREDENTIALS_FILE: at('credentials') },
    { ...none, AWS_CONFIG_FILE: at('plain/.aws/config') },
    { ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: at('token') },
    { ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pod-token' }
  ]
  for (const [index, environment] of found.entries()) t.ok(await wrap(environment), String(index))
  const others: readonly (readonly [environment: NodeJS.ProcessEnv, error: { readonly code: string, readonly message?: RegExp }])[] = [
    [none, unavailable('credentials-missing')],
    [{ HOME: at('config') }, unavailable('credentials-missing')],
    [{ HOME: at('home'), AWS_PROFILE: 'none' }, unavailable('credentials-missing')],
    [{ HOME: at('home'), AWS_PROFILE: 'other' }, unavailable('store-denied')],
    [{ ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint }, unavailable('store-denied')],
    ...['http://evil.example/', 'http://169.254.169.254/', 'http://0xa9fea9fe/', 'http://[::ffff:169.254.169.254]/', 'http://[fd00:ec2::254]/', 'http://localhost.example/', 'http://169.254.170.2.example/', 'http://user@169.254.170.2/', 'http://:pass@169.254.170.2/', 'nonsense'].map((AWS_CONTAINER_CREDENTIALS_FULL_URI) =>
      [{ ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI }, { code: 'FMG_ERR_OPTION_INVALID', message: /AWS_CONTAINER_CREDENTIALS_FULL_URI must be/ }] as const),
    ...['@evil.example/', '.evil.example/', '3/', ':9/'].map((AWS_CONTAINER_CREDENTIALS_RELATIVE_URI) =>
      [{ ...none, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI }, { code: 'FMG_ERR_OPTION_INVALID', message: /RELATIVE_URI must be/ }] as const)
  ]
  for (const [environment, error] of others) await t.rejects(wrap(environment), error, JSON.stringify(environment))
  double.instead = (action) => action === 'container' ? { status: 200, body: JSON.stringify({ AccessKeyId: 'A', SecretAccessKey: 'S', Token: 'T', Expiration: 'soon' }) } : undefined
  await t.rejects(wrap({ ...none, AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint }), unavailable('store-garbage'))
})

t.test('the endpoints of AWS are those of the region, of ECS and of EKS', async (t) => {
  const asked: string[] = []
  const folder = t.testdir({ token: 'a.b.c' })
  const given = '<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>'
  const fetch = async (url: string): Promise<Response> => {
    asked.push(url)
    return await Promise.resolve(new Response(url.includes('sts') ? given : JSON.stringify(url.includes('kms') ? { CiphertextBlob: 'AAAA' } : { AccessKeyId: 'A', SecretAccessKey: 'S', Token: 'T', Expiration: '2100-01-01T00:00:00Z' })))
  }
  for (const [environment, region] of [
    [{ AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials/x' }, 'eu-central-1'],
    [{ AWS_WEB_IDENTITY_TOKEN_FILE: path.join(folder, 'token'), AWS_ROLE_ARN: 'r', AWS_ROLE_SESSION_NAME: 's' }, 'eu-central-1'],
    [{ AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://169.254.170.23/v1/credentials' }, 'cn-north-1'],
    [{ AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://[fd00:ec2::23]/v1/credentials' }, 'us-gov-west-1']
  ] as const) await awsKmsKey({ keyId: 'alias/model', region, environment: { HOME: folder, ...environment }, fetch }).wrap(randomBytes(32), statement)
  t.strictSame(asked, [
    'http://169.254.170.2/v2/credentials/x', 'https://kms.eu-central-1.amazonaws.com/',
    'https://sts.eu-central-1.amazonaws.com', 'https://kms.eu-central-1.amazonaws.com/',
    'http://169.254.170.23/v1/credentials', 'https://kms.cn-north-1.amazonaws.com.cn/',
    'http://[fd00:ec2::23]/v1/credentials', 'https://kms.us-gov-west-1.amazonaws.com/'
  ])
})

t.test('credentials that end are kept, and looked for again before that, by one for all', async (t) => {
  const time = { now: 0 }
  let count = 0
  let isDown = false
  const source = async (): Promise<AwsCredentials> => {
    await Promise.resolve()
    if (isDown) throw new Error('down')
    return { accessKeyId: String(++count), secretAccessKey: 's', expiresAt: time.now + 3_600_000 }
  }
  const keeper = credentialKeeper(source, () => time.now)
  const current = async (): Promise<string> => (await keeper.current(0)).accessKeyId
  t.strictSame(await Promise.all([current(), current(), current()]), ['1', '1', '1'])
  time.now = 3_299_999
  t.equal(await current(), '1')
  await turn()
  t.equal(count, 1)
  time.now = 3_300_000
  isDown = true
  t.equal(await current(), '1', 'nobody fails without the next ones')
  await turn()
  isDown = false
  t.equal(await current(), '1', 'nor waits for them')
  await turn()
  t.equal(await current(), '2')
  const last = await keeper.current(0)
  t.equal(keeper.drop({ ...last }), true, 'of others nothing is forgotten')
  t.equal(await current(), '2')
  t.strictSame([keeper.drop({ accessKeyId: 'a', secretAccessKey: 's' }), keeper.drop(last)], [false, true])
  t.equal(await current(), '3')
  time.now += 3_600_000
  isDown = true
  await t.rejects(current(), { message: 'down' })

  const short = credentialKeeper(async () => await Promise.resolve({ accessKeyId: String(++count), secretAccessKey: 's', expiresAt: 60_000 }), () => time.now)
  time.now = 0
  count = 0
  await short.current(0)
  time.now = 39_999
  await short.current(0)
  t.equal(count, 1)
  time.now = 40_000
  await short.current(0)
  t.equal(count, 2, 'a third before the end of a short life')
})

t.test('credentials that are refused before they end are replaced once', async (t) => {
  const double = await awsDouble(t)
  const environment = { HOME: t.testdir(), AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pod-token' }
  const key = keyAt(double, { environment })
  await key.wrap(randomBytes(32), statement)
  double.known.clear()
  await key.wrap(randomBytes(32), statement)
  t.strictSame(double.asked, ['container', 'Encrypt', 'Encrypt', 'container', 'Encrypt'])
})

t.test('credentials that no header can carry are refused, and not shown', async (t) => {
  const double = await awsDouble(t)
  const container = { HOME: t.testdir(), AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pod-token' }
  double.instead = () => ({ status: 200, body: JSON.stringify({ AccessKeyId: 'A', SecretAccessKey: 'sesame', Token: 'ses\name', Expiration: '2100-01-01T00:00:00Z' }) })
  const environments: readonly NodeJS.ProcessEnv[] = [
    container, ...[['A', 'sesame', 'ses\name'], ['ses\name', 'sesame'], ['A', 'sesame\n'], ['A', 'sesame', 'sesame\u20ac']].map(([id, secret, token]) => ({ AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token }))
  ]
  await holdsFaults(t, environments.map((environment, index) => ({
    name: String(index), work: async () => await keyAt(double, { environment }).wrap(randomBytes(32), statement), code: 'FMG_ERR_KEY_UNAVAILABLE', reason: 'secret-no-text'
  })), ['sesame', 'ses\name', 'ses\\name'])
  t.notOk(double.asked.includes('Encrypt'))
})

t.test('a source of credentials that never answers holds no question longer than its time', async (t) => {
  const double = await awsDouble(t)
  const key = keyAt(double, { timeoutMs: 50, credentials: async () => await new Promise(() => undefined) })
  await t.rejects(key.wrap(randomBytes(32), statement), unavailable('store-slow'))
  t.strictSame(double.asked, [])
})

t.test('credentials that are refused however new they are are not asked for again and again', async (t) => {
  const double = await awsDouble(t)
  const environment = { HOME: t.testdir(), AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pod-token' }
  const key = keyAt(double, { environment })
  double.instead = (action) => action === 'Encrypt' ? { status: 400, body: '{"__type":"UnrecognizedClientException"}' } : undefined
  for (const asked of [['container', 'Encrypt', 'container', 'Encrypt'], ['Encrypt', 'container', 'Encrypt']]) {
    await t.rejects(key.wrap(randomBytes(32), statement), unavailable('store-denied'))
    t.strictSame(double.asked.splice(0), asked)
  }
})

t.test('all who are refused with credentials that ended too early go on with the next ones', async (t) => {
  const double = await awsDouble(t)
  const environment = { HOME: t.testdir(), AWS_CONTAINER_CREDENTIALS_FULL_URI: double.endpoint, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'pod-token' }
  const key = keyAt(double, { environment })
  await key.wrap(randomBytes(32), statement)
  double.known.clear()
  double.asked.splice(0)
  await Promise.all(Array.from({ length: 20 }, async () => await key.wrap(randomBytes(32), statement)))
  t.strictSame(double.asked.filter((action) => action === 'container'), ['container'])
})

async function turn (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}

t.test('credentials may be given, and whoever is asked too often is asked again', async (t) => {
  const double = await awsDouble(t)
  let isBusy = true
  double.instead = () => {
    const answer = isBusy ? { status: 400, body: '{"__type":"ThrottlingException"}' } : undefined
    isBusy = false
    return answer
  }
  const key = keyAt(double, { credentials: async () => await Promise.resolve(double.credentials), environment: {}, keyId: 'alias/model', recipient: 'mine', pause: async () => { await Promise.resolve() } })
  t.equal(key.keyId, 'mine')
  const bytes = randomBytes(32)
  t.ok(bytes.equals(await key.unwrap(await key.wrap(bytes, statement), statement)))
  t.strictSame(double.asked, ['Encrypt', 'Encrypt', 'Decrypt'])
})

t.test('what is no key, region or endpoint is refused before anybody is asked', async (t) => {
  const good = { keyId: 'alias/model', region: 'eu-central-1', environment: {} }
  for (const [more, message] of [
    [{ keyId: 'arn:aws:s3:::bucket' }, /keyId must be the ARN/], [{ keyId: 'alias/a b' }, /keyId must be/],
    [{ region: 'evil.example/' }, /region must be/], [{ region: 'eu' }, /region must be/],
    [{ endpoint: 'http://kms.example' }, /endpoint must be an https URL/], [{ endpoint: 'https://kms.example/path' }, /endpoint must be a URL without path/], [{ endpoint: 'https://kms.example/?a' }, /without path/]
  ] as const) t.throws(() => awsKmsKey({ ...good, ...more }), { code: 'FMG_ERR_OPTION_INVALID', message })
  t.equal(awsKmsKey(good).keyId, 'aws-kms:alias/model')
  await t.rejects(awsKmsKey(good).wrap(randomBytes(31), statement), { code: 'FMG_ERR_OPTION_INVALID' })
  await t.rejects(keyAt(await awsDouble(t), { environment: { AWS_WEB_IDENTITY_TOKEN_FILE: path.join(t.testdir({ token: 't' }), 'token'), AWS_ROLE_ARN: 'r', AWS_ENDPOINT_URL_STS: 'http://evil.example' } }).wrap(randomBytes(32), statement), { code: 'FMG_ERR_OPTION_INVALID' })
})

t.test('the published examples are signed as they are published', async (t) => {
  // docs.aws.amazon.com, Signature Version 4 test suite: post-vanilla, post-x-www-form-urlencoded, post-sts-header-before.
  const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
  const sessionToken = 'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=='
  const signed = (headers: Record<string, string>, body: string, more = {}) =>
    signedHeaders({ host: 'example.amazonaws.com', service: 'service', region: 'us-east-1', headers, body, credentials: { ...credentials, ...more }, now: Date.UTC(2015, 7, 30, 12, 36) }).authorization
  const prefix = 'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders='
  t.equal(signed({}, ''), `${prefix}host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b`)
  t.equal(signed({ 'content-type': 'application/x-www-form-urlencoded' }, 'Param1=value1'), `${prefix}content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a`)
  t.equal(signed({}, '', { sessionToken }), `${prefix}host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead`)
})
