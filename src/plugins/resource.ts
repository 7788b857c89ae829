import type { FastifyRequest } from 'fastify'
import type { Resource } from '../authz/policy.ts'
import { guardError } from '../errors.ts'
import type { ModelHandle } from './model-handle.ts'
import { holdModel } from './model-hold.ts'
import { modelFor } from './request-work.ts'

/** Where a value of a request stands. */
export interface RequestValue {
  /** A value of the URL can be judged before the body is read. */
  readonly from: 'url' | 'body'
  read (request: FastifyRequest): string | undefined
}

/** Tells what a request is about. */
export interface ResourceResolver {
  readonly from: 'url' | 'body'
  /** Type of every resource it gives, for instance `model`. */
  readonly type: string
  /** @throws FMG_ERR_REQUEST_INVALID when the request does not say. */
  resolve (request: FastifyRequest): Resource
}

/** A parameter of the route's path. */
export function param (name: string): RequestValue {
  return { from: 'url', read: ({ params }) => memberOf(params, name) }
}

/** A member of the parsed body. Judged after parsing and validation, so that it is the very value the handler gets. */
export function bodyMember (name: string): RequestValue {
  return { from: 'body', read: ({ body }) => memberOf(body, name) }
}

/** Always the same value. */
export function fixed (value: string): RequestValue {
  return { from: 'url', read: () => value }
}

function memberOf (value: unknown, name: string): string | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  const member: unknown = (value as Record<string, unknown>)[name]
  return typeof member === 'string' ? member : undefined
}

export interface ResourceOptions {
  readonly org?: (request: FastifyRequest, id: string) => string | undefined
  readonly attributes?: (request: FastifyRequest, id: string) => Readonly<Record<string, unknown>> | undefined
}

/** A resource of any type, for instance a key or a policy. */
export function resource (type: string, id: RequestValue, { org, attributes }: ResourceOptions = {}): ResourceResolver {
  return {
    from: id.from,
    type,
    resolve (request) {
      const name = required(request, id, type)
      return { type, id: name, org: org?.(request, name), attributes: atOnce(attributes?.(request, name) ?? {}) }
    }
  }
}

export interface ModelResourceOptions {
  readonly version?: RequestValue
  /** Attributes from elsewhere (`org` among them), for servers that do not load their models with this package. */
  readonly attributes?: (id: string, request: FastifyRequest) => Readonly<Record<string, unknown>> | undefined
}

/**
 * A model. With the `models` plugin its attributes are those of its signed `model.json`, and `request.model` is the very handle
 * that is judged; without it they are what `attributes` gives. An unknown model has none, and is refused like any other.
 */
export function model (id: RequestValue, { version, attributes }: ModelResourceOptions = {}): ResourceResolver {
  return {
    from: id.from === 'body' || version?.from === 'body' ? 'body' : 'url',
    type: 'model',
    resolve (request) {
      const name = required(request, id, 'model')
      const handle = request.server.hasDecorator('models') ? chosen(request, name, version?.read(request)) : null
      if (handle === null) request.audit?.set({ model_id: name })
      const known = atOnce(attributes?.(name, request) ?? handle?.attributes ?? {})
      return { type: 'model', id: name, org: typeof known['org'] === 'string' ? known['org'] : undefined, attributes: known }
    }
  }
}

/** What was chosen once stays so: another may have taken its place since, and what was decided upon is what runs. */
function chosen (request: FastifyRequest, name: string, version: string | undefined): ModelHandle | null {
  const { model: known } = request
  if (known?.id === name && (version === undefined || known.version === version)) return known
  const handle = request.server.models.find(name, version, request.principal)
  if (handle === null) return null
  holdModel(request, handle)
  request.model = modelFor(request, handle)
  return request.model
}

/** A promise has no attributes, and a rule that denies by one of them would not match. */
function atOnce (attributes: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (typeof attributes['then'] === 'function') throw new TypeError('attributes of a resource must be given at once, not by a promise')
  return attributes
}

function required (request: FastifyRequest, value: RequestValue, type: string): string {
  const name = value.read(request)
  if (name === undefined || name === '') throw guardError('FMG_ERR_REQUEST_INVALID', { detail: `it names no ${type}`, reason: 'resource-missing' })
  return name
}
