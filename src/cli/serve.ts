import { readArguments, type Verb } from './command.ts'

/** The reference server, until it is told to stop; with `--demo`, a walk through it against itself. */
export const serve: Verb = {
  usage: '[--config guard.yaml] [--port N] [--demo]',
  async run (words) {
    const args = readArguments(words, { config: { type: 'string' }, port: { type: 'string' }, demo: { type: 'boolean' } })
    // The whole server takes longer to load than most commands take to run.
    const { serveReference } = await import('./reference-server.ts')
    return await serveReference(args)
  }
}
