/** BYTES elements as binary tensor data: each a length of four bytes, little-endian, and its bytes. */
export function encodeStrings (strings: readonly string[]): Uint8Array {
  const parts = strings.flatMap((text) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.byteLength)
    return [length, bytes]
  })
  return Buffer.concat(parts)
}

/** Reads them back; `null` when a length leads beyond the end. Bytes that are not UTF-8 become U+FFFD: the runtime's strings are UTF-8. */
export function decodeStrings (bytes: Uint8Array): string[] | null {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const strings: string[] = []
  let offset = 0
  while (offset < data.byteLength) {
    if (offset + 4 > data.byteLength) return null
    const end = offset + 4 + data.readUInt32LE(offset)
    if (end > data.byteLength) return null
    strings.push(data.toString('utf8', offset + 4, end))
    offset = end
  }
  return strings
}
