import os from 'node:os'
import path from 'node:path'
import { exists, readNamedFile } from '../files.ts'
import type { AwsCredentials } from './aws-signature.ts'

/**
 * The access key of a profile in the shared files (docs.aws.amazon.com/sdkref/latest/guide/file-format.html), the credentials file first; nothing where there is none.
 * @throws FMG_ERR_FILE for a file that cannot be read.
 */
export async function profileCredentials ({ HOME = os.homedir(), ...environment }: NodeJS.ProcessEnv): Promise<AwsCredentials | undefined> {
  const profile = environment.AWS_PROFILE ?? 'default'
  const files: readonly (readonly [file: string, sections: readonly string[]])[] = [
    [environment.AWS_SHARED_CREDENTIALS_FILE ?? path.join(HOME, '.aws', 'credentials'), [profile]],
    [environment.AWS_CONFIG_FILE ?? path.join(HOME, '.aws', 'config'), [`profile ${profile}`, ...profile === 'default' ? ['default'] : []]]
  ]
  for (const [file, sections] of files) {
    const text = await exists(file) ? (await readNamedFile(file)).toString() : ''
    for (const section of sections) {
      const credentials = accessKeyIn(text, section)
      if (credentials !== undefined) return credentials
    }
  }
  return undefined
}

function accessKeyIn (text: string, section: string): AwsCredentials | undefined {
  const found = new Map<string, string>()
  let isInside = false
  for (const line of text.split(/\r?\n/)) {
    // One that is not closed is a section too, of no name: what follows it is not of the one above.
    if (line.startsWith('[')) isInside = /^\[\s*(.*?)\s*\]/.exec(line)?.[1]?.replace(/\s+/g, ' ') === section
    // Only at the start of a line: what is indented belongs to the setting above.
    const [, key = '', value = ''] = /^(\w+)\s*=\s*(\S+)\s*$/.exec(line) ?? []
    if (isInside) found.set(key, value)
  }
  const [accessKeyId, secretAccessKey, sessionToken] = ['aws_access_key_id', 'aws_secret_access_key', 'aws_session_token'].map((name) => found.get(name))
  return accessKeyId === undefined || secretAccessKey === undefined ? undefined : { accessKeyId, secretAccessKey, sessionToken }
}
