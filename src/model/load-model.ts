import { openModel, type OpenedModel, type OpenModelOptions } from './open-model.ts'
import { startSession, type ModelSession, type SessionOptions } from './session.ts'

/** A model that was verified and opened, and runs. */
export interface LoadedModel extends Pick<OpenedModel, 'manifest' | 'statementDigest' | 'signer' | 'findings'> {
  readonly session: ModelSession
}

/**
 * Opens a sealed model and starts it. A worker that must be replaced is given the very same bytes: what has since taken their place in the folder is refused.
 * @throws what `openModel` and `startSession` throw.
 */
export async function loadModel (options: OpenModelOptions, session: Omit<SessionOptions, 'reopen'>): Promise<LoadedModel> {
  const opened = await openModel(options)
  const { manifest, statementDigest, signer, findings } = opened
  // Admitted once: a floor that has risen since then, or an advisory that came, is no reason to let a model that serves die.
  const reopen = async (): Promise<OpenedModel> => await openModel({ ...options, admit: undefined, bom: undefined, expectDigest: statementDigest })
  return { manifest, statementDigest, signer, findings, session: await startSession(opened, { ...session, reopen }) }
}
