import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { pythonWith } from '../../scripts/python.js'
import { signedHeaders, type AwsCredentials } from '../../src/secrets/aws-signature.ts'
import { freePort } from './cerbos.ts'
import { memberOf, textOf } from './json.ts'

/** Where KMS and STS are, with keys and somebody who may use them. */
export interface AwsPlace {
  readonly endpoint: string
  readonly region: string
  /** ARNs. */
  readonly keys: Readonly<Record<'model' | 'other' | 'rsa', string>>
  readonly credentials: AwsCredentials
  readonly webIdentityToken: string
  readonly roleArn: string
  /** Lets the next action in without a signature: STS asks for none. */
  readonly letIn?: () => Promise<void>
}

const region = 'eu-central-1'
const all = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] })

/**
 * moto, a server that speaks for AWS, until the test ends; it verifies signatures with botocore, and policies. It opens nothing with RSA.
 * `undefined` where there is none.
 */
export async function startMoto (t: Test): Promise<AwsPlace | undefined> {
  const python = pythonWith(['moto[server,iam,kms,sts]==5.2.5'])
  if (python === undefined) return undefined
  const port = await freePort()
  const calls = 5
  const child = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore', env: { PATH: process.env.PATH, INITIAL_NO_AUTH_ACTION_COUNT: String(calls) } })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const endpoint = `http://127.0.0.1:${port}`
  while (!await fetch(`${endpoint}/moto-api/data.json`).then(({ ok }) => ok, () => false)) await new Promise((resolve) => { setImmediate(resolve) })
  return await prepare(endpoint)
}

async function prepare (endpoint: string): Promise<AwsPlace> {
  const anybody = { accessKeyId: 'AKIAANYBODY', secretAccessKey: 'none' }
  const send = async (service: string, headers: Record<string, string>, body: string, credentials: AwsCredentials): Promise<string> => {
    const { host } = new URL(endpoint)
    const response = await fetch(endpoint, { method: 'POST', headers: signedHeaders({ host, service, region, headers, body, credentials, now: Date.now() }), body })
    const text = await response.text()
    if (!response.ok) throw new Error(`${body}: ${response.status} ${text}`)
    return text
  }
  const iam = async (form: Record<string, string>): Promise<string> =>
    await send('iam', { 'content-type': 'application/x-www-form-urlencoded' }, new URLSearchParams({ Version: '2010-05-08', ...form }).toString(), anybody)
  // As many as are let in unsigned.
  await iam({ Action: 'CreateUser', UserName: 'server' })
  await iam({ Action: 'PutUserPolicy', UserName: 'server', PolicyName: 'all', PolicyDocument: all })
  const key = await iam({ Action: 'CreateAccessKey', UserName: 'server' })
  const role = await iam({ Action: 'CreateRole', RoleName: 'model-guard', AssumeRolePolicyDocument: all })
  await iam({ Action: 'PutRolePolicy', RoleName: 'model-guard', PolicyName: 'all', PolicyDocument: all })
  const credentials = { accessKeyId: inXml(key, 'AccessKeyId'), secretAccessKey: inXml(key, 'SecretAccessKey') }
  const create = async (question: object): Promise<string> =>
    textOf(memberOf(memberOf(JSON.parse(await send('kms', { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': 'TrentService.CreateKey' }, JSON.stringify(question), credentials)), 'KeyMetadata'), 'Arn'))
  const keys = { model: await create({}), other: await create({}), rsa: await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' }) }
  return { endpoint, region, keys, credentials, webIdentityToken: 'header.payload.signature', roleArn: inXml(role, 'Arn'), letIn: async () => { await fetch(`${endpoint}/moto-api/reset-auth`, { method: 'POST', body: '1' }) } }
}

function inXml (text: string, name: string): string {
  return textOf(new RegExp(`<${name}>([^<]+)</${name}>`).exec(text)?.[1])
}
