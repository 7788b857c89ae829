import type { FastifyRequest } from 'fastify'
import type { ResourceResolver } from './resource.ts'

/** Who may use a route. There is no default: a route that does not say is refused. */
export type Access =
  /** Anyone; no credential is looked at. */
  | 'public'
  /** Any principal. */
  | 'authenticated'
  /** A principal whom the policy allows this action on this resource. */
  | { readonly action: string, readonly resource: ResourceResolver }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
}

/** The access rule of a request's route; `authenticated` for an unknown path, so that strangers do not learn which paths exist. */
export function accessOf (request: FastifyRequest): Access | undefined {
  return request.is404 ? 'authenticated' : request.routeOptions.config.access
}

/** Whether this request's route is open to anyone. */
export function isPublic (request: FastifyRequest): boolean {
  return accessOf(request) === 'public'
}

/** Whether this is a CORS preflight, which by the Fetch standard never carries a credential. */
export function isPreflight ({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}
