import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

/** The model-guard command, as it is installed. */
export const command = path.join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.js')

/** How a command ended. */
export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs any program to its end. */
export async function run (program: string, words: readonly string[], options: { readonly cwd?: string, readonly env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const [status] = await once(child, 'close') as [number | null]
  return { status, stdout, stderr }
}

/** Runs `model-guard` with these words. */
export async function modelGuard (...words: readonly string[]): Promise<Ended> {
  return await run(process.execPath, [command, ...words])
}
