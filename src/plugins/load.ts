import type { FastifyInstance } from 'fastify'
import { guardError } from '../errors.ts'
import type { Shedding } from '../limits/charger.ts'
import type { LoadControl, LoadRequest, LoadState, Queue } from '../limits/load-control.ts'
import type { TierOptions } from '../limits/tiers.ts'
import { optionInvalid } from '../options.ts'
import { eventLoopDelay } from './event-loop-delay.ts'

const tickMs = 100

/**
 * Tells a control, ten times a second while the server runs, how late the event loop is and how long runs wait for the models of this
 * server; logs when it begins and ends to shed, and signals that fail.
 * @throws FMG_ERR_OPTION_INVALID when the order is not one of exactly these tiers.
 */
export function shedLoad (app: FastifyInstance, control: LoadControl, { tiers, defaultTier }: TierOptions): Shedding {
  checkOrder(control.order, Object.keys(tiers))
  const told = { isShedding: false, failed: '' }
  const delay = eventLoopDelay()
  let timer: NodeJS.Timeout | undefined
  app.addHook('onReady', async () => {
    // How busy the boot was is not asked.
    delay.read()
    timer = setInterval(() => { tell(app, told, control.tick({ eventLoopDelayMs: delay.read(), queues: queuesOf(app) })) }, tickMs).unref()
  })
  app.addHook('onClose', async () => {
    clearInterval(timer)
    delay.stop()
  })
  const known = (request: LoadRequest): LoadRequest => Object.hasOwn(tiers, request.tier) ? request : { ...request, tier: defaultTier }
  return {
    refusal (request) {
      const asked = known(request)
      const seconds = control.admit(asked)
      // The server's state, not the caller's fault: RFC 9110 section 15.6.4, and no violation.
      return seconds === 0 ? undefined : guardError('FMG_ERR_OVERLOADED', { reason: `load-${asked.tier}`, headers: { 'retry-after': String(seconds) } })
    },
    giveBack (request) { control.giveBack(known(request)) }
  }
}

/** A tier that is misspelt would be shed first, or last, and nobody would know. */
function checkOrder (order: readonly string[], tiers: readonly string[]): void {
  const missing = tiers.find((tier) => !order.includes(tier))
  if (missing !== undefined) throw optionInvalid('rateLimit.load.order', `a list with the tier ${missing}`, order)
  const unknown = order.find((tier) => !tiers.includes(tier))
  if (unknown !== undefined) throw optionInvalid('rateLimit.load.order', `a list without ${unknown}, which is no tier`, order)
}

function queuesOf (app: FastifyInstance): readonly Queue[] {
  return app.hasDecorator('models') ? app.models.list() : []
}

function tell (app: FastifyInstance, told: { isShedding: boolean, failed: string }, { limit, load, signal, failed }: LoadState): void {
  const isShedding = limit < Infinity
  if (isShedding !== told.isShedding) {
    told.isShedding = isShedding
    if (isShedding) app.log.warn({ signal, load, limit }, 'overload: lower tiers are shed')
    else app.log.info({ signal, load }, 'overload is over: nothing is shed')
  }
  const names = failed.join(', ')
  if (names !== told.failed) {
    told.failed = names
    app.log.warn({ signals: failed }, failed.length === 0 ? 'all signals of load can be read' : 'signals of load cannot be read')
  }
}
