import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import { listRoutes } from '../plugins/routes.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Every route of a server with its effective access. */
export const routes: Verb = {
  usage: 'MODULE [--json]   (a module whose default export is a Fastify instance, or a function that gives one)',
  async run (words) {
    const args = readArguments(words, {}, ['MODULE'])
    const file = args.required('MODULE')
    const app = await load(file)
    await app.ready()
    const listed = listRoutes(app)
    await app.close()
    const width = Math.max(0, ...listed.map(({ method, url }) => method.length + url.length + 1))
    print(args, { routes: listed }, listed.map(({ method, url, access }) => `${`${method} ${url}`.padEnd(width)}  ${access}`).join('\n'))
    return listed.every(({ access }) => access !== 'refused')
  }
}

async function load (file: string): Promise<FastifyInstance> {
  const loaded = await import(pathToFileURL(path.resolve(file)).href) as { default?: unknown }
  const made: unknown = typeof loaded.default === 'function' ? await (loaded.default as () => unknown)() : loaded.default
  if (typeof made !== 'object' || made === null || !('ready' in made)) throw guardError('FMG_ERR_OPTION_INVALID', { detail: `${file} has no Fastify instance as its default export` })
  return made as FastifyInstance
}
