import { Http2ServerRequest } from 'node:http2'
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

/** Whether this is a CORS preflight, which by the Fetch standard never carries a credential, nor a body: none is read for it. */
export function isPreflight (request: FastifyRequest): boolean {
  const { method, headers } = request
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined && !hasContent(request)
}

/** Whether content comes with a request, whoever may read it. */
export function hasContent ({ headers, raw }: FastifyRequest): boolean {
  // RFC 9113 section 8.1: in HTTP/2 no field need tell of it, only that the stream goes on.
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0' || streamGoesOn(raw)
}

function streamGoesOn (raw: unknown): boolean {
  return raw instanceof Http2ServerRequest && !raw.stream.endAfterHeaders
}

function isAccess (value: unknown): value is Access {
  if (typeof value !== 'object' || value === null) return value === 'public' || value === 'authenticated'
  const { action, resource } = value as Partial<Record<'action' | 'resource', unknown>>
  return typeof action === 'string' && action !== '' && typeof resource === 'object' && resource !== null && 'resolve' in resource && 'type' in resource
}

/** The access rule of a route; `undefined` when there is none, or when it is none of the three that there are. */
export function readAccess (value: unknown): Access | undefined {
  return isAccess(value) ? value : undefined
}
