import { signDataset } from '../../src/model/sign-dataset.ts'
import { sealDataset } from '../../src/model/seal-dataset.ts'
import type { KeyProvider } from '../../src/secrets/key-provider.ts'
import { signer, writeFiles, type Files } from './models.ts'

/** A manifest with everything it needs. */
export function datasetManifestOf (members: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    name: 'payments',
    version: '1.2.0',
    org: 'acme',
    sensitivity: 'high',
    licence: 'CC-BY-4.0',
    created: '2026-01-31T12:00:00Z',
    source: 'https://example.com/payments',
    nonce: '00112233445566778899aabbccddeeff',
    ...members
  })
}

/** A small dataset with its signature. */
export async function signedDataset (folder: string, files: Files = {}): Promise<string> {
  await writeFiles(folder, { 'dataset.json': datasetManifestOf(), 'rows.csv': '1,2,3\n', ...files })
  await signDataset({ directory: folder, signer })
  return folder
}

/** A small dataset, signed and sealed. */
export async function sealedDataset (folder: string, recipients: readonly KeyProvider[], files: Files = {}): Promise<string> {
  const source = await signedDataset(`${folder}-source`, files)
  await sealDataset({ source, destination: folder, recipients })
  return folder
}
