import { readBatch } from '../model/batching.ts'
import { readBomOptions } from '../model/bom/bom-gate.ts'
import { readGraphRules } from '../model/graph-rules.ts'
import { allOptional, integer, listOf, nonEmpty, optional, recordOf, string, withDefault, type Read, type Reader } from '../options.ts'
import type { Places } from './places.ts'

/** What the reference server is told of its models. */
export function readModelsConfig ({ file, key }: Places) {
  return allOptional({
    /** Who may sign models, as `readTrustFile` reads it, in place of this server's own signing key. Without it the example model is made and served. */
    trustFile: optional(file),
    /** What opens bundles: references. Default: this server's own key, in the data folder. */
    keys: optional(nonEmpty(listOf(key))),
    /** By model, a version that may be loaded although a newer one was: a deliberate rollback. Default none. */
    allowRollback: withDefault(recordOf(string()), {}),
    timeoutMs: withDefault(integer({ min: 1 }), 30_000),
    queueLimit: withDefault(integer({ min: 1 }), 64),
    /** Threads that run a version side by side, each with its own copy of the model. */
    workers: withDefault(integer({ min: 1, max: 64 }), 1),
    /** Bytes of JavaScript memory above which such a thread is replaced. Default: no bound. */
    maxWorkerBytes: optional(integer({ min: 1 })),
    /** Runs after which it is replaced. Default: no bound. */
    maxWorkerRuns: optional(integer({ min: 1 })),
    /** Versions of one model that may be loaded at once. */
    maxVersions: withDefault(integer({ min: 1, max: 64 }), 4),
    /** Models whose requests run together, by name: as in {@link BatchOptions}. Default: none. */
    batch: withDefault(recordOf(readBatch), {}),
    /** What graphs may ask of the runtime: as in {@link GraphRules}. */
    graph: readGraphRules,
    /** Has the bill of materials of every version looked at: as in {@link BomGateOptions}. Default: none is. */
    bom: optional(readBom(file)),
    /** Bytes of the sealed files of a version. Default: half of the memory that this process may use. */
    maxModelBytes: optional(integer({ min: 1 })),
    /** With it a prediction costs one unit for each millisecond that the model ran, and so many are charged before. Default: a prediction costs one unit. */
    reserveMs: optional(integer({ min: 1 }))
  })
}

function readBom (file: Reader<string>): Reader<Read<typeof readBomOptions>> {
  return (value, path) => {
    const { vulnerabilities, vex, ...options } = readBomOptions(value, path)
    return { ...options, vulnerabilities: optional(file)(vulnerabilities, `${path}.vulnerabilities`), vex: listOf(file)(vex, `${path}.vex`) }
  }
}
