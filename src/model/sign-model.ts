import { modelKind } from './bundle-kind.ts'
import { signFolder, type SignFolderOptions } from './sign-folder.ts'
import type { Statement } from './statement.ts'

export type SignModelOptions = SignFolderOptions

/**
 * Signs a plaintext model as OpenSSF Model Signing v1.0 does, in `model.sig`: method `files` or `shards`, no symbolic links.
 * @returns what was stated, as a verifier will read it.
 * @throws what `signFolder` throws.
 */
export async function signModel (options: SignModelOptions): Promise<Statement> {
  return await signFolder(modelKind, options)
}
