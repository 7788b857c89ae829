import { stat } from 'node:fs/promises'
import { totalmem } from 'node:os'
import path from 'node:path'
import { guardError } from '../errors.ts'
import { integer, withDefault } from '../options.ts'
import type { BomFinding, BomGate } from './bom/bom-gate.ts'
import { bomName } from './bom/bom.ts'
import { modelKind, modelName } from './bundle-kind.ts'
import { checkGraph, readGraphRules, type GraphRules, type ReadGraphRules } from './graph-rules.ts'
import { readGraph, type GraphFacts } from './graph.ts'
import type { Manifest } from './manifest.ts'
import { admitManifest, verifyBundle, type OpenBundleOptions } from './open-bundle.ts'
import { defaultThreads, FileOpener } from './open-files.ts'
import type { OnProgress } from './progress.ts'
import { openBundleKey, sealedName, signedFile } from './sealed-bundle.ts'
import type { Statement } from './statement.ts'
import type { ModelSigner, VerifiedStatement } from './trust.ts'
import { wipe } from './wipe.ts'

export interface OpenModelOptions extends OpenBundleOptions<Manifest> {
  /**
   * Threads that decrypt and hash large files (from 64 MiB on), 0 to 64. They run with an empty environment, as long as this takes. Default: as
   * many as there are cores, at most 8. With 0 the calling thread does it, in turns of a few milliseconds.
   */
  readonly threads?: number
  /** What the graph may ask of the runtime. */
  readonly graph?: GraphRules | undefined
  /** Looks at the bill of materials, before the graph and the data are decrypted. */
  readonly bom?: BomGate | undefined
  /** Bytes of all its files together, as they are sealed: looked at before any key is asked for. Default: half of the memory that this process may use. */
  readonly maxBytes?: number | undefined
  /** Is told how far each file is, in bytes of plaintext: when it is open, and about every 16 MiB of a large one. Must not throw. */
  readonly onProgress?: OnProgress
}

const readThreads = withDefault(integer({ min: 0, max: 64 }), defaultThreads)
const readMaxBytes = withDefault(integer({ min: 1 }), defaultMaxBytes())

/** A model whose every byte was signed for, in memory. */
export interface OpenedModel {
  readonly manifest: Manifest
  /** `sha256:<hex>`: what records name the model by. */
  readonly statementDigest: string
  readonly signer: ModelSigner
  /** Plaintext of every signed file, each alone in its memory, which may be shared with other threads. A session takes them: they are gone afterwards. */
  readonly files: ReadonlyMap<string, Uint8Array>
  /** Names of the files that the graph keeps tensors in. */
  readonly externalData: readonly string[]
  /** What its bill of materials gives to think about; empty where that was not looked at. */
  readonly findings: readonly BomFinding[]
  /** Overwrites every file with zeros. */
  zero (): Promise<void>
}

/**
 * Opens a sealed model, wholly into memory: signature and trust first, then the files' names, the data key, the manifest alone, and only
 * then the rest, if its signer may claim what the manifest says. What was decrypted is hashed and held against the signed digests.
 * @throws FMG_ERR_BUNDLE_INVALID, FMG_ERR_SIGNATURE_INVALID, FMG_ERR_SIGNER_UNTRUSTED before any key is asked for or file decrypted.
 * @throws FMG_ERR_SIGNER_UNTRUSTED also when the manifest says what its signer may not claim.
 * @throws FMG_ERR_MODEL_TAMPERED when a file is missing, too many, changed, from another model, or not the model asked for.
 * @throws FMG_ERR_MODEL_REFUSED when it is larger than allowed (reason `model-size`), its graph uses what is not allowed (`operator`, `graph-size`), or of what `bom` finds.
 * @throws FMG_ERR_KEY_UNAVAILABLE when no key that opens it can be reached.
 * @throws FMG_ERR_MODEL_FAILED when there is no memory for it, or a thread ended.
 */
export async function openModel (options: OpenModelOptions): Promise<OpenedModel> {
  const { directory, keys, onProgress = () => undefined } = options
  const threads = readThreads(options.threads, 'openModel.threads')
  const maxBytes = readMaxBytes(options.maxBytes, 'openModel.maxBytes')
  const rules = readGraphRules(options.graph, 'openModel.graph')
  const verified = await verifyBundle(modelKind, options)
  const { statement } = verified
  await requireSize(directory, statement, maxBytes)
  const dataKey = await openBundleKey(modelKind, directory, statement, keys)
  const opener = new FileOpener({ kind: modelKind, directory, statement, dataKey, threads, onProgress })
  try {
    return await openFiles(opener, verified, { ...options, rules })
  } finally {
    dataKey.fill(0)
    await opener.close()
  }
}

/** What a model must pass to be opened. */
interface Checks extends Pick<OpenModelOptions, 'expectName' | 'admit' | 'bom'> {
  readonly rules: ReadGraphRules
}

async function openFiles (opener: FileOpener, verified: VerifiedStatement, { bom, rules, ...checks }: Checks): Promise<OpenedModel> {
  const { files } = opener
  const { statement, signer } = verified
  const zero = async (): Promise<void> => { await wipe(...files.values()) }
  try {
    const manifest = await admitManifest(modelKind, await opener.openManifest(), verified, checks)
    const bill = bom === undefined ? undefined : statement.files.find(({ name }) => name === bomName)
    const findings = await bom?.check(bill === undefined ? undefined : await opener.open(bill), statement) ?? []
    const graph = await readGraph(await opener.open(signedFile(statement, modelName)))
    requireExternalData(graph, statement)
    checkGraph(graph, rules)
    await opener.openAll(statement.files.filter(({ name }) => !files.has(name)))
    return { manifest, statementDigest: statement.digest, signer, files, externalData: graph.externalData, findings, zero }
  } catch (error) {
    await zero()
    throw error
  }
}

/** Half of it: the runtime has a copy of its own. */
function defaultMaxBytes (): number {
  return Math.floor(Math.min(...[process.constrainedMemory(), totalmem()].filter((bytes) => bytes > 0)) / 2)
}

async function requireSize (directory: string, { files }: Statement, maxBytes: number): Promise<void> {
  let bytes = 0
  for (const { name } of files) bytes += (await stat(path.join(directory, sealedName(name)))).size
  if (bytes > maxBytes) throw guardError('FMG_ERR_MODEL_REFUSED', { detail: `it is of ${bytes} bytes, of ${maxBytes} that are allowed`, reason: 'model-size' })
}

function requireExternalData ({ externalData }: GraphFacts, { files }: Statement): void {
  const unsigned = externalData.find((location) => !files.some(({ name }) => name === location))
  // The runtime would look for it on the disk, and take what lies there.
  if (unsigned !== undefined) throw guardError('FMG_ERR_MODEL_TAMPERED', { detail: `model.onnx keeps tensors in ${JSON.stringify(unsigned)}, which is not signed for`, reason: 'external-data' })
}
