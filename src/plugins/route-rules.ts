import type { FastifyRequest } from 'fastify'
import { readAccess, type Access } from './access.ts'

/** What a request costs, in whole units of at least 1: a number, or worked out from the parsed body. */
export type Cost = number | ((request: FastifyRequest) => number)

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
    /** Default 1. A function is asked once the body was parsed: what does not parse is not charged. */
    cost?: Cost
    /** `none`: requests of this public route leave no record. Any other route is recorded whatever it says. */
    audit?: 'none'
    [verifiesItself]?: true
  }
}

/** Marks a route of this package whose credential stands in the body: it sets `request.principal` itself, before `preHandler`. Not exported to users. */
export const verifiesItself = Symbol('fastify-model-guard.verifiesItself')

/** What a route says of itself to the parts of the pipeline. */
export interface RouteRules {
  /** `authenticated` for an unknown path, so that strangers do not learn which paths exist; `undefined` for a route that does not say. */
  readonly access: Access | undefined
  readonly cost: Cost
  readonly isRecorded: boolean
  readonly verifiesItself: boolean
  /** What records say was asked for: the policy's action, or method and route. Never the URL as sent, which may hold anything. */
  readonly action: string
}

const ofUnknownPath: RouteRules = { access: 'authenticated', cost: 1, isRecorded: true, verifiesItself: false, action: 'unknown-path' }

const ofRoutes = new WeakMap<object, RouteRules>()
const ofRequest = Symbol('fastify-model-guard/route-rules')

/** The rules of a request's route. Fastify makes `routeOptions` anew at every look, so it is looked at once a request. */
export function rulesOf (request: FastifyRequest & { [ofRequest]?: RouteRules }): RouteRules {
  request[ofRequest] ??= request.is404 ? ofUnknownPath : rulesOfRoute(request.routeOptions)
  return request[ofRequest]
}

function rulesOfRoute (route: FastifyRequest['routeOptions']): RouteRules {
  const known = ofRoutes.get(route.config)
  if (known !== undefined) return known
  const rules = readRules(route)
  ofRoutes.set(route.config, rules)
  return rules
}

function readRules ({ config, method, url }: FastifyRequest['routeOptions']): RouteRules {
  const access = readAccess(config.access)
  return {
    access,
    cost: config.cost ?? 1,
    isRecorded: config.audit !== 'none' || access !== 'public',
    verifiesItself: config[verifiesItself] === true,
    action: typeof access === 'object' ? access.action : `${String(method).toLowerCase()} ${String(url)}`
  }
}

/** Whether this request's route is open to anyone. */
export function isPublic (request: FastifyRequest): boolean {
  return rulesOf(request).access === 'public'
}
