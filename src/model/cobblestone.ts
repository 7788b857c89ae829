import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { guardError, type GuardError } from '../errors.ts'
import { optionInvalid } from '../options.ts'

// Cobblestone-256: c2sp.org/chunked-encryption with AES-256-GCM and HKDF-Expand over SHA-512.
const label = 'c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0'
const saltBytes = 24
const headerBytes = 56
const chunkBytes = 16_384
const tagBytes = 16
const sealedChunkBytes = chunkBytes + tagBytes
// About 1 MiB, so a millisecond or two, between two turns of the event loop.
const blockChunks = 64

/** What a file is sealed with: 32 uniformly random bytes, and the bytes that say what the file is. */
export interface SealingKey {
  readonly key: Uint8Array
  /** Not secret, not stored: whoever opens must know it. */
  readonly context: Uint8Array
}

/** Sealed bytes, wherever they lie. */
export interface SealedSource {
  /** Names the source in errors. */
  readonly name: string
  readonly bytes: number
  /** Fills the target from this offset on; gives how many bytes there were. */
  read (target: Uint8Array, offset: number): Promise<number>
}

/** A file that was opened once and stays the same file until it is closed. */
export function fileSource (name: string, handle: FileHandle, bytes: number): SealedSource {
  return { name, bytes, read: async (target, offset) => (await handle.read(target, 0, target.length, offset)).bytesRead }
}

/** How many bytes a plaintext of this many becomes. */
export function sealedBytes (plainBytes: number): number {
  return headerBytes + plainBytes + (Math.floor(plainBytes / chunkBytes) + 1) * tagBytes
}

/**
 * Seals a stream as Cobblestone-256 under a fresh salt, block by block, with a pause between blocks.
 * @throws FMG_ERR_OPTION_INVALID for a key that is not 32 bytes.
 */
export async function * seal (plain: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, sealing: SealingKey): AsyncGenerator<Uint8Array> {
  const salt = randomBytes(saltBytes)
  const keys = deriveKeys(sealing, salt)
  const block = Buffer.alloc(blockChunks * chunkBytes)
  let filled = 0
  let index = 0
  try {
    yield Buffer.concat([salt, keys.commitment])
    for await (const piece of plain) {
      for (let taken = 0; taken < piece.length;) {
        const part = piece.subarray(taken, taken + block.length - filled)
        block.set(part, filled)
        taken += part.length
        filled += part.length
        if (filled < block.length) continue
        yield sealChunks(keys, block, index, blockChunks)
        await nextTurn()
        index += blockChunks
        filled = 0
      }
    }
    // The final chunk is always short, if need be empty: this is what a cut file lacks.
    yield sealChunks(keys, block.subarray(0, filled), index, Math.floor(filled / chunkBytes) + 1)
  } finally {
    block.fill(0)
    keys.secret.fill(0)
  }
}

/**
 * Opens what `seal` made, whole or not at all: nothing is given back before the last chunk is verified.
 * Pauses between blocks; takes memory only after the last chunk has proved the length.
 * @throws FMG_ERR_MODEL_TAMPERED, with reason `sealed-length` (cut, or longer than it was), `sealed-key` (another key or context,
 * or a changed header) or `sealed-chunk` (changed, moved, dropped or added chunks).
 * @throws FMG_ERR_OPTION_INVALID for a key that is not 32 bytes.
 */
export async function unseal (source: SealedSource, sealing: SealingKey): Promise<Uint8Array<ArrayBuffer>> {
  const chunks = countChunks(source)
  const header = await readExactly(source, Buffer.alloc(headerBytes), 0)
  const keys = deriveKeys(sealing, header.subarray(0, saltBytes))
  try {
    if (!timingSafeEqual(keys.commitment, header.subarray(saltBytes))) {
      throw tampered(source, 'sealed-key', 'was not sealed under this key for this place')
    }
    return await unsealChunks(source, keys, chunks)
  } finally {
    keys.secret.fill(0)
  }
}

async function unsealChunks (source: SealedSource, keys: Keys, chunks: number): Promise<Uint8Array<ArrayBuffer>> {
  const full = chunks - 1
  const last = openChunk(source, keys, await readExactly(source, Buffer.alloc(source.bytes - headerBytes - full * sealedChunkBytes), headerBytes + full * sealedChunkBytes), full)
  const plain = new Uint8Array(full * chunkBytes + last.length)
  const sealed = Buffer.alloc(Math.min(full, blockChunks) * sealedChunkBytes)
  try {
    plain.set(last, full * chunkBytes)
    last.fill(0)
    for (let first = 0; first < full; first += blockChunks) {
      const block = sealed.subarray(0, Math.min(blockChunks, full - first) * sealedChunkBytes)
      await readExactly(source, block, headerBytes + first * sealedChunkBytes)
      openBlock(source, keys, block, first, plain)
    }
    return plain
  } catch (error) {
    plain.fill(0)
    throw error
  }
}

function openBlock (source: SealedSource, keys: Keys, block: Uint8Array, first: number, plain: Uint8Array): void {
  for (let offset = 0, index = first; offset < block.length; offset += sealedChunkBytes, index++) {
    const opened = openChunk(source, keys, block.subarray(offset, offset + sealedChunkBytes), index)
    plain.set(opened, index * chunkBytes)
    opened.fill(0)
  }
}

/** A length with no room for a short last chunk is that of a file that was cut, or made longer. */
function countChunks (source: SealedSource): number {
  const body = source.bytes - headerBytes
  if (body % sealedChunkBytes < tagBytes) throw tampered(source, 'sealed-length', 'is cut short, or longer than it was')
  const chunks = Math.floor(body / sealedChunkBytes) + 1
  if (chunks > 2 ** 38) throw tampered(source, 'sealed-length', 'has more chunks than there can be')
  return chunks
}

async function readExactly (source: SealedSource, target: Buffer, offset: number): Promise<Buffer> {
  for (let filled = 0; filled < target.length;) {
    const count = await source.read(target.subarray(filled), offset + filled)
    if (count === 0) throw tampered(source, 'sealed-length', 'became shorter while it was read')
    filled += count
  }
  return target
}

interface Keys {
  /** Key, base nonce and commitment in one piece of memory. */
  readonly secret: Buffer
  readonly key: Buffer
  readonly baseNonce: Buffer
  readonly commitment: Buffer
}

function deriveKeys ({ key, context }: SealingKey, salt: Uint8Array): Keys {
  if (key.length !== 32) throw optionInvalid('key', '32 bytes', key)
  // RFC 5869 section 2.3, the input key as PRK; the hash is not named in the label, so SHA-512 is fixed here.
  const info = Buffer.concat([Buffer.from(label), salt, context])
  const first = createHmac('sha512', key).update(info).update('\x01').digest()
  const second = createHmac('sha512', key).update(first).update(info).update('\x02').digest()
  const secret = Buffer.concat([first, second])
  first.fill(0)
  second.fill(0)
  return { secret, key: secret.subarray(0, 32), baseNonce: secret.subarray(32, 44), commitment: secret.subarray(44, 76) }
}

function sealChunks (keys: Keys, plain: Uint8Array, firstIndex: number, count: number): Buffer {
  const parts: Buffer[] = []
  for (let i = 0; i < count; i++) {
    const cipher = createCipheriv('aes-256-gcm', keys.key, nonceOf(keys, firstIndex + i))
    parts.push(cipher.update(plain.subarray(i * chunkBytes, (i + 1) * chunkBytes)), cipher.final(), cipher.getAuthTag())
  }
  return Buffer.concat(parts)
}

function openChunk (source: SealedSource, keys: Keys, sealed: Uint8Array, index: number): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', keys.key, nonceOf(keys, index), { authTagLength: tagBytes })
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  const plain = decipher.update(sealed.subarray(0, sealed.length - tagBytes))
  try {
    decipher.final()
  } catch {
    plain.fill(0)
    throw tampered(source, 'sealed-chunk', `was changed in chunk ${index}`)
  }
  return plain
}

/** The base nonce with the chunk's number, as a big-endian integer of its width, added without carry. */
function nonceOf (keys: Keys, index: number): Buffer {
  const nonce = Buffer.from(keys.baseNonce)
  nonce.writeUInt8(nonce.readUInt8(7) ^ Math.floor(index / 2 ** 32), 7)
  // >>> 0: the bit operators of this language give signed numbers.
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ (index >>> 0)) >>> 0, 8)
  return nonce
}

function tampered (source: SealedSource, reason: string, detail: string): GuardError {
  return guardError('FMG_ERR_MODEL_TAMPERED', { detail: `${source.name} ${detail}`, reason })
}
