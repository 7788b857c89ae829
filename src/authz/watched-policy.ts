import { setTimeout } from 'node:timers/promises'
import { guardError } from '../errors.ts'
import { readNamedFile } from '../files.ts'
import { followFile } from '../followed-file.ts'
import { functionOf, integer, listOf, object, optional, string, withDefault } from '../options.ts'
import { loadPolicy, type FilePolicy } from './file-policy.ts'
import type { Policy } from './policy.ts'
import { checkPolicySignature, readPolicyKeys, type PolicyKey } from './policy-signature.ts'

export interface WatchedPolicyOptions {
  readonly file: string
  /** Largest file taken, in bytes. Default 1 MiB. */
  readonly maxBytes?: number
  /** Keys of which one must have signed the file; the signatures stand in `<file>.sig`, a line each, put there before the file. Default: none need have. */
  readonly trustedKeys?: readonly PolicyKey[]
  /** How many different keys of these must have signed: with 2 nobody changes a policy alone. Default 1. */
  readonly requiredSignatures?: number
  /** The tiers there are: see {@link PolicySource}. */
  readonly tiers?: readonly string[]
  /** Told when a changed file is not taken; the policy before stays. Default: a process warning. */
  readonly onError?: (error: unknown) => void
  /** Milliseconds for which the file must have been still. Default 100. */
  readonly stillMs?: number
  /** Milliseconds between two looks at the file, beside what the system tells of it. Default 1000. */
  readonly heartbeatMs?: number
}

/** Two policies, by their digests, of which one took the place of the other. */
export interface PolicyChange {
  readonly before: string
  readonly after: string
  /** Fingerprints of the trusted keys that signed the new one, `sha256:<hex>` of SubjectPublicKeyInfo; none where none are trusted. */
  readonly signers: readonly string[]
}

/** A policy that changes with its file. */
export interface WatchedPolicy extends Policy {
  /** As it was read last. */
  readonly current: FilePolicy
  /** Who signed it: see {@link PolicyChange}. */
  readonly signers: readonly string[]
  /** Has this told of every policy that takes the place of another, from now on. */
  whenChanged (listener: (change: PolicyChange) => void): void
  /** Stops watching. */
  close (): Promise<void>
}

const denyingEverything: FilePolicy = loadPolicy('version: 1', { source: 'none' })

const readOptions = object({
  file: string(),
  maxBytes: optional(integer({ min: 1 })),
  tiers: optional(listOf(string())),
  trustedKeys: optional(readPolicyKeys),
  requiredSignatures: withDefault(integer({ min: 1, max: 16 }), 1),
  onError: withDefault(functionOf<(error: unknown) => void>(), (error) => { process.emitWarning(String(error)) }),
  stillMs: withDefault(integer({ min: 1, max: 60_000 }), 100),
  heartbeatMs: withDefault(integer({ min: 10, max: 60_000 }), 1000)
})

/**
 * A policy file that is read again whenever it changes. A file is taken whole or not at all: when it has been still for a moment, is signed
 * where it must be, parses, and passes its own tests. Until then, and where it is gone, the policy before decides.
 * @throws FMG_ERR_FILE, FMG_ERR_POLICY_INVALID, FMG_ERR_SIGNATURE_INVALID when the file cannot be taken at first.
 */
export async function watchPolicy (options: WatchedPolicyOptions): Promise<WatchedPolicy> {
  const { file, maxBytes, tiers, trustedKeys, requiredSignatures, onError, stillMs, heartbeatMs } = readOptions(options, 'watchPolicy')
  const listeners: ((change: PolicyChange) => void)[] = []
  let current = denyingEverything
  let signers: readonly string[] = []
  const followed = await followFile({ file, heartbeatMs, read: take, onError, clock: () => performance.now() })

  return {
    get id () { return current.id },
    get tiers () { return current.tiers },
    get current () { return current },
    get signers () { return signers },
    decide: (...question) => current.decide(...question),
    whenChanged (listener) { listeners.push(listener) },
    close: async () => { await followed.close() }
  }

  async function take (): Promise<void> {
    const bytes = await readStill()
    const signedBy = trustedKeys === undefined ? [] : checkPolicySignature(bytes, (await readNamedFile(`${file}.sig`)).toString('latin1'), trustedKeys, requiredSignatures, file)
    const next = loadPolicy(decode(bytes, file), { source: file, ...maxBytes !== undefined && { maxBytes }, ...tiers !== undefined && { tiers } })
    const change = { before: current.id, after: next.id, signers: signedBy }
    if (change.before === change.after) return
    current = next
    signers = signedBy
    for (const listener of listeners) listener(change)
  }

  /** Half a file can be a policy, too: one that lacks its last rules. */
  async function readStill (): Promise<Buffer> {
    let bytes = await readNamedFile(file)
    for (;;) {
      await setTimeout(stillMs)
      const again = await readNamedFile(file)
      if (again.equals(bytes)) return bytes
      bytes = again
    }
  }
}

/** The digest that names a policy is that of its text: no byte may be replaced or dropped. */
function decode (bytes: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw guardError('FMG_ERR_POLICY_INVALID', { detail: `${file}: expected UTF-8` })
  }
}
