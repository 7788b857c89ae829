import type { FastifyInstance, RouteOptions } from 'fastify'
import { readAccess } from './access.ts'

/** A route and who may use it. */
export interface ListedRoute {
  readonly method: string
  readonly url: string
  /** `public`, `authenticated`, the action on the resource type, or `refused` for a route that does not say. */
  readonly access: string
}

const listed = new WeakMap<object, ListedRoute[]>()

/** Begins the list of a guarded scope. */
export function noteRoutes (app: FastifyInstance): void {
  const routes = listed.get(app.server) ?? []
  listed.set(app.server, routes)
  app.addHook('onRoute', function noteRoute (route) { routes.push(describe(route)) })
}

/** Every guarded route of a server, in the order of registration; those outside the guard's scope are not among them. */
export function listRoutes (app: FastifyInstance): readonly ListedRoute[] {
  return listed.get(app.server) ?? []
}

function describe ({ method, url, config }: RouteOptions): ListedRoute {
  const access = readAccess(config?.access)
  const text = typeof access === 'object' ? `${access.action} on ${access.resource.type}` : access ?? 'refused'
  return { method: String(method), url, access: text }
}
