import { functionOf, objectWith, string, type Reader } from '../options.ts'

/** Proves to others what this process runs in. */
export interface Attester {
  /** What it runs in, by the name that brokers know: `snp`, `tdx`, `az-snp-vtpm`, `sample`. */
  readonly tee: string
  /**
   * Evidence that these bytes were given by whoever runs in here, as JSON: for hardware, a report that has them in its field for the user's data, filled up with zeros.
   * @param reportData 32, 48 or 64 bytes.
   */
  readonly evidence: (reportData: Uint8Array) => Promise<Readonly<Record<string, unknown>>>
}

/** An attester of the user's own. */
export const readAttester: Reader<Attester> = objectWith({ tee: string(/^[\w-]+$/, 'the name of a kind of hardware'), evidence: functionOf<Attester['evidence']>() })

/** What proves nothing: anybody can make its evidence. A broker that takes it gives its keys to everybody. For tests and first steps; `keyBroker` refuses it unless told otherwise. */
export function sampleAttester (): Attester {
  return {
    tee: 'sample',
    evidence: async (reportData) => ({ svn: '1', report_data: Buffer.from(reportData).toString('base64') })
  }
}
