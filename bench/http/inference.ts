import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'

/** The stand-in for a model, the same in all servers: an answer as small as a classifier's, made at no cost. */
export function infer (): object {
  return {
    model_name: 'fraud',
    model_version: '3',
    outputs: [{ name: 'probability', shape: [1, 4], datatype: 'FP32', data: [0.0312, 0.9014, 0.0521, 0.0153] }]
  }
}

/** Path of the one route of all servers, and what it is asked for. */
export const route = '/models/:model/infer'
export const path = '/models/fraud/infer'

/** Lets a server listen, prints its URL, and closes it when told to stop. */
export async function serve (app: FastifyInstance): Promise<void> {
  console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
  await once(process, 'SIGTERM')
  app.server.closeAllConnections()
  await app.close()
}
