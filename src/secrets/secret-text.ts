import { storeFailure } from './ask-store.ts'
import type { SecretSource } from './secret-source.ts'

/**
 * A secret that is sent as text: a token, a password. A line feed at its end, which editors and `echo` put there, is none of it.
 * @throws FMG_ERR_KEY_UNAVAILABLE with reason `secret-no-text` for anything but printable ASCII, which no header can carry; and what the source throws.
 */
export async function readSecretText (source: SecretSource): Promise<string> {
  const bytes = await source.read()
  const text = Buffer.from(bytes).toString('latin1').replace(/\r?\n$/, '')
  bytes.fill(0)
  if (!/^[\x21-\x7e]+$/.test(text)) throw storeFailure('secret-no-text', 'a secret that is not one word of printable text')
  return text
}
