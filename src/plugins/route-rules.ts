import type { FastifyRequest } from 'fastify'
import type { MeasuredRun } from '../model/session.ts'
import { readAccess, type Access } from './access.ts'

/** What a request costs before it runs, in whole units of at least 1: a number, or worked out from the parsed body. */
export type ForeseenCost = number | ((request: FastifyRequest) => number)

/** What a request costs once it is known what it took. */
export interface MeasuredCost {
  /** Charged before it runs, so that nobody starts what they cannot pay for. */
  readonly reserve: ForeseenCost
  /**
   * What it cost, told once it is really over, however it ended: later than its answer where its client left or a run went on. Rounded up
   * to whole units, and at least 1; more than the reserve is spent even beyond a quota.
   * @param measured what the runs of `request.model` took together; 0 ms when none began, and in servers with their own model, which keep
   * what they measure with the request.
   */
  readonly settle: (request: FastifyRequest, measured: MeasuredRun) => number
}

/** What a request costs. */
export type Cost = ForeseenCost | MeasuredCost

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
  /** What is charged before it runs. */
  readonly cost: ForeseenCost
  /** Tells what it cost when it is over; `undefined` where that is known before. */
  readonly settle: MeasuredCost['settle'] | undefined
  readonly isRecorded: boolean
  readonly verifiesItself: boolean
  /** What records say was asked for: the policy's action, or method and route. Never the URL as sent, which may hold anything. */
  readonly action: string
}

const ofUnknownPath: RouteRules = { access: 'authenticated', cost: 1, settle: undefined, isRecorded: true, verifiesItself: false, action: 'unknown-path' }

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
  const { cost = 1 } = config
  return {
    access,
    ...typeof cost === 'object' ? { cost: cost.reserve, settle: cost.settle } : { cost, settle: undefined },
    isRecorded: config.audit !== 'none' || access !== 'public',
    verifiesItself: config[verifiesItself] === true,
    action: typeof access === 'object' ? access.action : `${String(method).toLowerCase()} ${String(url)}`
  }
}

/** Whether this request's route is open to anyone. */
export function isPublic (request: FastifyRequest): boolean {
  return rulesOf(request).access === 'public'
}
