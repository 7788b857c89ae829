import { hash } from 'node:crypto'

/** A SHA-256 digest as 32 characters of one byte each (latin1): what `crypto.hash` gives soonest, and what needs no copy. */
export type Digest = string

/** Bytes of a digest. */
export const digestBytes = 32

/** MTH of no leaves (RFC 6962 section 2.1). */
export const emptyRoot: Digest = hash('sha256', '', 'binary')

/**
 * Hashes a leaf whose data stands in `bytes` from `start` to `end`. The byte before it is overwritten: RFC 6962 section 2.1
 * puts 0x00 before a leaf, and writing it where the last line's end stood spares a copy of every line.
 */
export function hashLeafInPlace (bytes: Uint8Array, start: number, end: number): Digest {
  bytes[start - 1] = 0
  return hash('sha256', bytes.subarray(start - 1, end), 'binary')
}

/** Hashes a leaf (RFC 6962 section 2.1). */
export function hashLeaf (data: Uint8Array): Digest {
  const prefixed = new Uint8Array(data.length + 1)
  prefixed.set(data, 1)
  return hashLeafInPlace(prefixed, 1, prefixed.length)
}

const pair = Buffer.alloc(1 + 2 * digestBytes)
pair[0] = 1

/** Hashes an interior node (RFC 6962 section 2.1). */
export function hashNode (left: Digest, right: Digest): Digest {
  pair.write(left, 1, 'latin1')
  pair.write(right, 1 + digestBytes, 'latin1')
  return hash('sha256', pair, 'binary')
}

/** The claim that a leaf stands at an index of a tree (RFC 9162 section 2.1.3). */
export interface InclusionProof {
  readonly index: number
  readonly size: number
  readonly leaf: Uint8Array
  readonly root: Uint8Array
  /** From the leaf's sibling up. */
  readonly proof: readonly Uint8Array[]
}

/** The claim that a tree is a prefix of another (RFC 9162 section 2.1.4). */
export interface ConsistencyProof {
  readonly size1: number
  readonly size2: number
  readonly root1: Uint8Array
  readonly root2: Uint8Array
  readonly proof: readonly Uint8Array[]
}

/** Verifies an inclusion proof (RFC 9162 section 2.1.3.2). Anything malformed is `false`, nothing throws. */
export function verifyInclusion ({ index, size, leaf, root, proof }: InclusionProof): boolean {
  const [node, expected, ...siblings] = toDigests([leaf, root, ...proof]) ?? []
  if (node === undefined || !isSize(index) || !isSize(size) || index >= size) return false
  const climb = { at: index, last: size - 1 }
  let reached = node
  for (const sibling of siblings) {
    if (climb.last === 0) return false
    reached = isRight(climb) ? hashNode(sibling, reached) : hashNode(reached, sibling)
    ascend(climb)
  }
  return climb.last === 0 && reached === expected
}

/**
 * Verifies a consistency proof (RFC 9162 section 2.1.4.2). Anything malformed is `false`, nothing throws. An empty first
 * tree is `false` too: it is consistent with everything, so that a proof of it says nothing.
 */
export function verifyConsistency ({ size1, size2, root1, root2, proof }: ConsistencyProof): boolean {
  if (!isSize(size1) || !isSize(size2) || size1 === 0 || size1 > size2) return false
  // One tree, so that nothing is left to hash: its root is compared as it is given.
  if (size1 === size2) return proof.length === 0 && toDigest(root1) === toDigest(root2)
  const [first, second, ...given] = toDigests([root1, root2, ...proof]) ?? []
  if (first === undefined || second === undefined) return false
  // A first tree of a power of two is itself a node of the second, and not repeated in the proof.
  const [start, ...siblings] = isPowerOfTwo(size1) ? [first, ...given] : given
  return start !== undefined && climbBoth(start, siblings, { at: size1 - 1, last: size2 - 1 }, first, second)
}

function climbBoth (start: Digest, siblings: readonly Digest[], climb: Climb, first: Digest, second: Digest): boolean {
  while (climb.at % 2 === 1) halve(climb)
  let inFirst = start
  let inSecond = start
  for (const sibling of siblings) {
    if (climb.last === 0) return false
    if (isRight(climb)) {
      inFirst = hashNode(sibling, inFirst)
      inSecond = hashNode(sibling, inSecond)
    } else {
      inSecond = hashNode(inSecond, sibling)
    }
    ascend(climb)
  }
  return climb.last === 0 && inFirst === first && inSecond === second
}

/** A node's place and the last place of its level: `fn` and `sn` of RFC 9162. */
interface Climb {
  at: number
  last: number
}

function isRight ({ at, last }: Climb): boolean {
  return at % 2 === 1 || at === last
}

function ascend (climb: Climb): void {
  // The last node of a level may have no sibling there: its next one stands levels higher.
  if (isRight(climb)) while (climb.at % 2 === 0 && climb.at !== 0) halve(climb)
  halve(climb)
}

// Not a shift, which would cut sizes at 32 bits.
function halve (climb: Climb): void {
  climb.at = Math.floor(climb.at / 2)
  climb.last = Math.floor(climb.last / 2)
}

function isSize (value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

/** Whether a whole number of at least 1 is a power of two, also beyond 32 bits. */
export function isPowerOfTwo (value: number): boolean {
  let rest = value
  while (rest % 2 === 0) rest /= 2
  return rest === 1
}

function toDigests (hashes: readonly Uint8Array[]): Digest[] | undefined {
  return hashes.every((bytes) => bytes.length === digestBytes) ? hashes.map(toDigest) : undefined
}

/** Bytes of a digest as the {@link Digest} it is. */
export function toDigest (bytes: Uint8Array): Digest {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

/** A {@link Digest} as bytes. */
export function fromDigest (digest: Digest): Buffer {
  return Buffer.from(digest, 'latin1')
}
