import { createHash, randomBytes, type KeyObject } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { serializeDictionary, type InnerList, type Item } from 'structured-headers'
import { optionInvalid } from '../options.ts'
import { contentDigestField } from './content-digest.ts'
import { signBase, unfit, type MessageAlgorithm } from './signature-algorithm.ts'
import { signatureBase } from './signature-base.ts'

/** What is uploaded: a file, which is read once to digest it; bytes; or the SHA-256 of what is had elsewhere, and its length where that is known. */
export type UploadContent = { readonly file: string } | { readonly bytes: Uint8Array } | { readonly sha256: Uint8Array, readonly length?: number }

export interface SignUploadOptions {
  /** Whole, as it will be asked. */
  readonly url: string
  /** Default `POST`. */
  readonly method?: string
  readonly content: UploadContent
  /** What is sent besides; all of it is signed. `content-type` belongs here. */
  readonly headers?: Readonly<Record<string, string>>
  readonly keyId: string
  readonly key: KeyObject
  readonly algorithm: MessageAlgorithm
  /** Seconds until the signature ends. Default 300. */
  readonly lifetimeSeconds?: number
  /** Default `model-upload`. */
  readonly tag?: string
  /** Milliseconds since the epoch. */
  readonly clock?: () => number
}

/** What signatures of uploads are made for, where nothing else is said. */
export const uploadTag = 'model-upload'

/**
 * Signs an upload (RFC 9421), digest first (RFC 9530): gives the headers it is sent with, those given among them. What is then sent must be the very content that was
 * digested; where the file changes meanwhile the server refuses it at its end.
 * @throws FMG_ERR_OPTION_INVALID when the key does not fit the algorithm.
 */
export async function signUpload (options: SignUploadOptions): Promise<Record<string, string>> {
  const { url, method = 'POST', content, headers = {}, keyId, key, algorithm, lifetimeSeconds = 300, tag = uploadTag, clock = Date.now } = options
  const wants = unfit(algorithm, key)
  if (wants !== undefined) throw optionInvalid('signUpload.key', wants, key)
  const { digest, length } = await measure(content)
  const given = Object.entries(headers).map(([name, value]): [string, string] => [name.toLowerCase(), value])
  const fields = Object.fromEntries([...given, ['content-digest', contentDigestField({ algorithm: 'sha-256', digest })], ...length === undefined ? [] : [['content-length', String(length)]]]) as Record<string, string>
  const created = Math.floor(clock() / 1000)
  const parameters = new Map<string, string | number>([['created', created], ['expires', created + lifetimeSeconds], ['nonce', randomBytes(18).toString('base64url')], ['keyid', keyId], ['alg', algorithm], ['tag', tag]])
  const input: InnerList = [['@method', '@target-uri', ...Object.keys(fields)].map((name): Item => [name, new Map<string, string>()]), parameters]
  const { protocol, host, pathname, search } = new URL(url)
  const request = { method: method.toUpperCase(), scheme: protocol.slice(0, -1), authority: host, target: pathname + search }
  const signature = signBase(algorithm, key, signatureBase({ fields: Object.entries(fields).flat(), request }, input))
  return { ...fields, 'signature-input': serializeDictionary(new Map([['sig', input]])), signature: serializeDictionary(new Map([['sig', [signature, new Map()]]])) }
}

async function measure (content: UploadContent): Promise<{ digest: Buffer, length: number | undefined }> {
  if ('sha256' in content) return { digest: Buffer.from(content.sha256), length: content.length }
  const hash = createHash('sha256')
  if ('bytes' in content) return { digest: hash.update(content.bytes).digest(), length: content.bytes.length }
  const chunks: AsyncIterable<Buffer> = createReadStream(content.file)
  let length = 0
  for await (const chunk of chunks) {
    hash.update(chunk)
    length += chunk.length
  }
  return { digest: hash.digest(), length }
}
