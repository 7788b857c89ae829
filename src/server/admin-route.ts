import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { fixed, resource, type ResourceResolver } from '../plugins/resource.ts'
import { parseStrictJson } from '../strict-json.ts'

/** A route that needs this action's permission on all resources of a type. */
export function may (action: string, type: string): { readonly config: { readonly access: { readonly action: string, readonly resource: ResourceResolver } } } {
  return { config: { access: { action, resource: resource(type, fixed('all')) } } }
}

/** Answers of this scope are kept by nobody. */
export function storeNothing (app: FastifyInstance): void {
  app.addHook('onRequest', async (_request, reply) => { void reply.header('cache-control', 'no-store') })
}

/** Bodies of this scope are JSON that every parser reads alike, and nothing else. */
export function readStrictBodies (app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => parseStrictJson(body))
}

/** 404 where there was nothing to do it to. */
export async function answerDone (reply: FastifyReply, isDone: boolean, body: object): Promise<FastifyReply> {
  return await reply.code(isDone ? 200 : 404).send(body)
}
