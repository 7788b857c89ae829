/** The DER in a text that is one PEM block of this label (RFC 7468) and nothing else; `null` for any other. */
export function readPem (text: string, label: string): Buffer | null {
  const [, found, body = ''] = /^\s*-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*$/.exec(text) ?? []
  return found === label ? readBase64(body.replace(/\r?\n/g, '')) : null
}

/** Base64 with its padding (RFC 4648 section 4) and not a character more: Buffer alone would skip what it does not know. */
function readBase64 (text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : null
}
