import { randomUUID } from 'node:crypto'
import { guardError } from '../../errors.ts'
import { listOf, object, optional, optionInvalid, string, withDefault } from '../../options.ts'
import { partsOfFile } from '../digest.ts'
import { listFiles, readSmallFile } from '../folder.ts'
import { readGraph, type GraphFacts } from '../graph.ts'
import { modelKind, modelName } from '../bundle-kind.ts'
import { manifestName, readManifest, type Manifest } from '../manifest.ts'
import { maxManifestBytes } from '../manifest-parts.ts'
import { alwaysIgnored } from '../verify-folder.ts'
import { bomName, readBom } from './bom.ts'
import { schemaProblem } from './bom-schema.ts'
import { packageReader } from './package-name.ts'

export interface MakeBomOptions {
  /** A plaintext model's folder, with `model.json` and `model.onnx`, before it is signed. */
  readonly directory: string
  /** SPDX expression, such as `Apache-2.0`. */
  readonly licence?: string | undefined
  /** Package URLs of what the model was made with, or needs. */
  readonly packages?: readonly string[] | undefined
  /** Milliseconds since the epoch; by default this machine's clock. */
  readonly clock?: (() => number) | undefined
}

// What Protocol Buffers can hold.
const maxGraphBytes = 2 ** 31 - 1

const readOptions = object({ directory: string(), licence: optional(string()), packages: withDefault(listOf(string()), []) })

/**
 * Makes a bill of materials (CycloneDX 1.6, JSON) of a model: its files and their SHA-256, the operators and operator sets of its graph, and what `model.json` says of its training.
 * Write it into the folder as `bom.cdx.json` and sign that.
 * @throws FMG_ERR_BUNDLE_INVALID when the folder holds no model.
 * @throws FMG_ERR_OPTION_INVALID when what was given does not fit the schema, or what validates it is not installed.
 */
export async function makeBom ({ clock = Date.now, ...options }: MakeBomOptions): Promise<string> {
  const { directory, licence, packages } = readOptions(options, 'bom')
  const manifest = readManifest(await readSmallFile(directory, manifestName, maxManifestBytes))
  const graph = await readGraph(await readSmallFile(directory, modelName, maxGraphBytes))
  const files = await describeFiles(directory)
  const data = (manifest.training_data ?? []).map(({ name, digest: { sha256 } }) => ({ type: 'data', 'bom-ref': `data:${name}`, name, hashes: [{ alg: 'SHA-256', content: sha256 }], data: [{ type: 'dataset', name }] }))
  const text = `${JSON.stringify({
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${randomUUID()}`,
    version: 1,
    metadata: { timestamp: new Date(clock()).toISOString(), tools: { components: [{ type: 'application', name: 'fastify-model-guard' }] }, component: describeModel(manifest, graph, licence) },
    components: [...files, ...data, ...await describePackages(packages)]
  }, null, 2)}\n`
  const problem = await schemaProblem(Buffer.from(text), readBom(Buffer.from(text)))
  if (problem !== undefined) throw guardError('FMG_ERR_OPTION_INVALID', { detail: problem })
  return text
}

function describeModel ({ name, version, task, org, trained_by: trainedBy, training_data: trainingData = [], code }: Manifest, { producer, opsets, operators }: GraphFacts, licence: string | undefined): object {
  return {
    type: 'machine-learning-model',
    'bom-ref': `model:${name}@${version}`,
    publisher: org,
    name,
    version,
    authors: trainedBy === undefined ? undefined : [{ name: trainedBy }],
    licenses: licence === undefined ? undefined : [{ expression: licence }],
    externalReferences: code === undefined ? undefined : [{ type: 'vcs', url: code.name, hashes: [{ alg: 'SHA-256', content: code.digest.sha256 }] }],
    modelCard: { modelParameters: { task, datasets: trainingData.map((data) => ({ ref: `data:${data.name}` })) } },
    properties: [
      { name: 'onnx:producer', value: producer },
      ...[...opsets].map(([domain, opset]) => ({ name: `onnx:opset:${domain}`, value: `${opset}` })),
      ...[...operators].sort(([a], [b]) => a < b ? -1 : 1).map(([operator, nodes]) => ({ name: `onnx:operator:${operator}`, value: `${nodes}` }))
    ]
  }
}

async function describePackages (packages: readonly string[]): Promise<readonly object[]> {
  const read = await packageReader()
  return packages.map((purl, index) => {
    const named = read(purl)
    if (named === undefined) throw optionInvalid(`bom.packages[${index}]`, 'a package URL, as pkg:pypi/torch@2.4.0', purl)
    return { type: 'library', 'bom-ref': purl, name: named.name, version: named.version, purl }
  })
}

async function describeFiles (directory: string): Promise<readonly object[]> {
  const files: object[] = []
  for (const name of await listFiles(directory, new Set([...alwaysIgnored, modelKind.signature, bomName]))) {
    const [whole] = await partsOfFile(directory, name, { hash: 'sha256', shardBytes: undefined })
    files.push({ type: 'file', 'bom-ref': `file:${name}`, name, hashes: [{ alg: 'SHA-256', content: whole?.digest }] })
  }
  return files
}
