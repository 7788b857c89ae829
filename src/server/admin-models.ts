import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readName, textOf } from '../approval.ts'
import { object, optional, string } from '../options.ts'
import { readCanary } from '../plugins/canary.ts'
import type { ModelVersion } from '../plugins/model-handle.ts'
import type { ModelChangeAuthor } from '../plugins/loaded-models.ts'
import { param, resource } from '../plugins/resource.ts'
import { may, readStrictBodies, storeNothing } from './admin-route.ts'
import { callerOf } from './caller.ts'
import type { ModelBook } from './model-book.ts'
import { understood } from './understood.ts'

const bodyLimit = 65_536

// Whoever calls approves.
const author = { requestedBy: optional(readName), reason: optional(textOf(4096)) }
const readLoad = object({ ...author, folder: string() })
const readPromotion = object({ ...author, version: string() })
const readAuthor = object(author)

type OfModel = FastifyRequest<{ Params: { model: string } }>
type OfVersion = FastifyRequest<{ Params: { model: string, version: string } }>

/**
 * What an operator may ask about the versions of models over HTTP: which are loaded, in which state and memory, that one be loaded, serve, serve some
 * principals, or go. Every change is answered when it is recorded, made, and kept for the next start.
 */
export async function adminModels (app: FastifyInstance, book: ModelBook): Promise<void> {
  readStrictBodies(app)
  storeNothing(app)

  app.get('/', may('list', 'model'), async () => ({ models: listed(app) }))

  app.post('/:model/versions', { ...mayChange('load'), bodyLimit }, async (request: OfModel, reply) => {
    const { folder, ...by } = await understood(async () => readLoad(request.body, 'body'))
    const version = await book.load(request.params.model, folder, authorOf(request, by))
    return await reply.code(201).send(publicVersion(version))
  })

  app.post('/:model/promote', { ...mayChange('promote'), bodyLimit }, async (request: OfModel) => {
    const { version, ...by } = await understood(async () => readPromotion(request.body, 'body'))
    return publicVersion(await book.change(async () => await app.models.promote(request.params.model, version, authorOf(request, by))))
  })

  app.post('/:model/rollback', { ...mayChange('rollback'), bodyLimit }, async (request: OfModel) => {
    const by = await understood(async () => readAuthor(request.body ?? {}, 'body'))
    return publicVersion(await book.change(async () => await app.models.rollback(request.params.model, authorOf(request, by))))
  })

  app.put('/:model/canary', { ...mayChange('canary'), bodyLimit }, async (request: OfModel) => {
    const { requestedBy, reason, ...members } = Object(request.body ?? {}) as Record<string, unknown>
    const [by, canary] = await understood(async () => [readAuthor({ requestedBy, reason }, 'body'), readCanary(members, 'body')] as const)
    await book.change(async () => { await app.models.setCanary(request.params.model, canary, authorOf(request, by)) })
    return { model: request.params.model, canary }
  })

  app.delete('/:model/canary', mayChange('canary'), async (request: OfModel) => {
    const by = await understood(async () => readAuthor(request.query, 'query'))
    await book.change(async () => { await app.models.setCanary(request.params.model, null, authorOf(request, by)) })
    return { model: request.params.model, canary: null }
  })

  app.delete('/:model/versions/:version', mayChange('unload'), async (request: OfVersion, reply) => {
    const by = await understood(async () => readAuthor(request.query, 'query'))
    const { model, version } = request.params
    await book.change(async () => { await app.models.unload(model, version, authorOf(request, by)) })
    // RFC 9110 section 15.3.3: requests that were decided upon it may still run.
    return await reply.code(202).send({ model, version, unloaded: true })
  })
}

/** Judged like the model itself, by the attributes of its current version; but it is not held, or nobody could unload it. */
function mayChange (action: string): { readonly config: { readonly access: { readonly action: string, readonly resource: ReturnType<typeof resource> } } } {
  const attributesOf = ({ server }: FastifyRequest, id: string): Readonly<Record<string, unknown>> | undefined => server.models.find(id)?.attributes
  return {
    config: {
      access: {
        action,
        resource: resource('model', param('model'), {
          org: (request, id) => {
            const org = attributesOf(request, id)?.['org']
            return typeof org === 'string' ? org : undefined
          },
          attributes: attributesOf
        })
      }
    }
  }
}

function authorOf (request: FastifyRequest, { requestedBy, reason }: Partial<ModelChangeAuthor>): ModelChangeAuthor {
  const approvedBy = callerOf(request)
  return { requestedBy: requestedBy ?? approvedBy, approvedBy, reason }
}

function listed ({ models }: FastifyInstance): readonly object[] {
  const all = models.list()
  return [...new Set(all.map(({ id }) => id))].map((id) => ({ model: id, canary: models.canaryOf(id), versions: all.filter((version) => version.id === id).map(publicVersion) }))
}

/** A version for people and programs. */
export function publicVersion ({ id, version, digest, state, ready, waitMs, runMs, memory }: ModelVersion): object {
  return { model: id, version, digest, state, ready, waitMs, runMs, memory: { plaintextBytes: memory.plaintextBytes, workerBytes: memory.workerBytes } }
}
