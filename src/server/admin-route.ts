import type { FastifyReply } from 'fastify'
import { fixed, resource, type ResourceResolver } from '../plugins/resource.ts'

/** A route that needs this action's permission on all resources of a type. */
export function may (action: string, type: string): { readonly config: { readonly access: { readonly action: string, readonly resource: ResourceResolver } } } {
  return { config: { access: { action, resource: resource(type, fixed('all')) } } }
}

/** 404 where there was nothing to do it to. */
export async function answerDone (reply: FastifyReply, isDone: boolean, body: object): Promise<FastifyReply> {
  return await reply.code(isDone ? 200 : 404).send(body)
}
