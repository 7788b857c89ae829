import { cp, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { sealModel } from '../../src/model/seal-model.ts'
import { signModel } from '../../src/model/sign-model.ts'
import { keyFromFile, signerFromFile } from '../../src/secrets/key-file.ts'
import type { DataFolder } from '../../src/server/data-folder.ts'
import { exampleModel } from '../../src/server/example-model.ts'
import { manifestOf, writeFiles } from './models.ts'

/** Puts a version of the example model where a server finds it by command. */
export async function addVersion (data: DataFolder, version: string, folder = version): Promise<void> {
  const source = path.join(data.root, `${folder}.unsealed`)
  await writeFiles(source, { 'model.json': manifestOf({ name: 'digits', version }) })
  await cp(path.join(exampleModel, 'model.onnx'), path.join(source, 'model.onnx'))
  await signModel({ directory: source, signer: await signerFromFile(data.modelSigningKey) })
  await mkdir(path.join(data.modelVersions, 'digits'), { recursive: true })
  await sealModel({ source, destination: path.join(data.modelVersions, 'digits', folder), recipients: [await keyFromFile(data.modelWrappingKey)] })
}
