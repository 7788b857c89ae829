import { createHash } from 'node:crypto'

// RFC 6962 and RFC 9162 word for word, however slow: what the fast ones are held against.

export function sha256 (...parts: Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export function leafHash (data: Uint8Array): Buffer {
  return sha256(Buffer.of(0), data)
}

function split (size: number): number {
  let k = 1
  while (k * 2 < size) k *= 2
  return k
}

/** Over leaf hashes, as all below. */
export function treeHash (leaves: readonly Buffer[]): Buffer {
  const [only] = leaves
  if (only === undefined) return sha256()
  if (leaves.length === 1) return only
  const k = split(leaves.length)
  return sha256(Buffer.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)))
}

export function inclusionPath (index: number, leaves: readonly Buffer[]): Buffer[] {
  if (leaves.length === 1) return []
  const k = split(leaves.length)
  return index < k
    ? [...inclusionPath(index, leaves.slice(0, k)), treeHash(leaves.slice(k))]
    : [...inclusionPath(index - k, leaves.slice(k)), treeHash(leaves.slice(0, k))]
}

/** PROOF(size, leaves) with `whole` true. */
export function subProof (size: number, leaves: readonly Buffer[], whole: boolean): Buffer[] {
  if (size === leaves.length) return whole ? [] : [treeHash(leaves)]
  const k = split(leaves.length)
  return size <= k
    ? [...subProof(size, leaves.slice(0, k), whole), treeHash(leaves.slice(k))]
    : [...subProof(size - k, leaves.slice(k), false), treeHash(leaves.slice(0, k))]
}

/** Whether a proof of PROOF(size1, D[size2]) joins these two roots: the definition, read from its end. */
export function checkConsistency (size1: number, size2: number, root1: Buffer, root2: Buffer, proof: readonly Buffer[]): boolean {
  const rest = [...proof]
  const [old, joined] = join(size1, size2, true)
  return rest.length === 0 && old.equals(root1) && joined.equals(root2)

  function join (m: number, n: number, whole: boolean): [Buffer, Buffer] {
    if (m === n) {
      const hash = whole ? root1 : rest.pop() ?? sha256()
      return [hash, hash]
    }
    const k = split(n)
    const sibling = rest.pop() ?? sha256()
    const [inOld, inNew] = m <= k ? join(m, k, whole) : join(m - k, n - k, false)
    return m <= k
      ? [inOld, sha256(Buffer.of(1), inNew, sibling)]
      : [sha256(Buffer.of(1), sibling, inOld), sha256(Buffer.of(1), sibling, inNew)]
  }
}
