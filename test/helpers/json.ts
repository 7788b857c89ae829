// Reading of foreign JSON in tests: what is not as expected fails the test that reads it.

/** A member of an object; `undefined` when it has none of this name. */
export function memberOf (value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null) throw new TypeError(`no object with ${name}`)
  return Object.entries(value).find(([key]) => key === name)?.[1]
}

export function arrayOf (value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError('not a list')
  return value
}

export function textOf (value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('not a string')
  return value
}

/** Bytes written as hexadecimal digits. */
export function bytesOf (value: unknown): Buffer {
  return Buffer.from(textOf(value), 'hex')
}

/** Bytes in standard base64 with its padding; Node would take anything. */
export function fromBase64 (value: unknown): Buffer {
  const bytes = Buffer.from(textOf(value), 'base64')
  if (bytes.toString('base64') !== value) throw new TypeError('no base64')
  return bytes
}
