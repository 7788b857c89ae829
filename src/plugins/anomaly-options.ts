import type { Alert } from '../audit/watch/alert.ts'
import { reactionNames, type ReactionName, type ReactionPlan } from '../audit/watch/reactions.ts'
import { readWatchOptions, type RuleName, type WatchOptions } from '../audit/watch/watch-options.ts'
import { readWebhookOptions, type WebhookOptions } from '../audit/watch/webhook.ts'
import { allOptional, functionOf, integer, listOf, object, oneOf, optional, string, withDefault, type Read, type Reader } from '../options.ts'
import { readMode, type Mode } from './refusal.ts'

/** Something that an alert leads to. */
export interface ReactionOptions {
  /**
   * `tighten`: a limit of its own, beside all others. `coarsen`: answers tell the highest label alone, and rounded scores. `fresh-credential`: 401 until
   * a credential comes that was issued after the alert. `suspend`: 403.
   */
  readonly action: ReactionName
  /** How long. Default an hour. */
  readonly seconds?: number
  /** `shadow`: it is recorded, also in the records of the requests that it would have been about, and nobody notices. Default `enforce`. */
  readonly mode?: 'enforce' | 'shadow'
}

/** What is done when a rule finds something. */
export interface RuleReactions {
  /** `shadow`: the alert is recorded, and that is all. Default `enforce`. */
  readonly mode?: 'enforce' | 'shadow'
  /** Beside the alert. Default: nothing. */
  readonly actions?: readonly ReactionOptions[]
}

export interface AnomalyOptions {
  readonly watch?: WatchOptions
  /** What each rule leads to. Default: its alert, and nothing else. */
  readonly reactions?: { readonly [K in RuleName]?: RuleReactions }
  /** What `tighten` leaves: so many requests a minute. Default 10. */
  readonly tightRequestsAMinute?: number
  /** Where alerts are sent, signed as Standard Webhooks. Default: nowhere. */
  readonly webhook?: WebhookOptions
  /** Told of every alert. What it throws is logged. */
  readonly onAlert?: (alert: Alert) => void
  /**
   * The log's folder, and how many of its last days the rules learn from when the server starts, beside serving: until that is done nothing is
   * found or done, and what comes meanwhile waits for it. Default: they begin with nothing.
   */
  readonly learnFrom?: { readonly directory: string, readonly days: number }
  /** Identities that something is done about, at most. Default 10,000. */
  readonly maxSubjects?: number
  /** `observe`: nobody is refused, nor answered coarsely. Default `enforce`. */
  readonly mode?: Mode
  /** Milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number
}

const readPlan: Reader<ReactionPlan> = object({
  action: oneOf(...reactionNames),
  seconds: withDefault(integer({ min: 1, max: 366 * 86_400 }), 3600),
  mode: withDefault(oneOf<ReactionPlan['mode']>('enforce', 'shadow'), 'enforce')
})

const readRuleReactions = allOptional({ mode: withDefault(oneOf<'enforce' | 'shadow'>('enforce', 'shadow'), 'enforce'), actions: withDefault(listOf(readPlan), []) })

/** What each rule leads to. */
export const readReactions: Reader<Readonly<Record<RuleName, Read<typeof readRuleReactions>>>> = allOptional({
  ceiling: readRuleReactions,
  volume: readRuleReactions,
  errors: readRuleReactions,
  models: readRuleReactions,
  denials: readRuleReactions,
  probing: readRuleReactions,
  range: readRuleReactions,
  hours: readRuleReactions,
  novelty: readRuleReactions,
  walk: readRuleReactions,
  coverage: readRuleReactions,
  budget: readRuleReactions
})

/** Checks options and fills in what was left out. */
export const readAnomalyOptions = object({
  watch: readWatchOptions,
  reactions: readReactions,
  tightRequestsAMinute: withDefault(integer({ min: 1 }), 10),
  webhook: optional(readWebhookOptions),
  onAlert: withDefault(functionOf<(alert: Alert) => void>(), () => undefined),
  learnFrom: optional(object({ directory: string(), days: integer({ min: 1, max: 366 }) })),
  maxSubjects: withDefault(integer({ min: 1 }), 10_000),
  mode: readMode,
  clock: withDefault(functionOf<() => number>(), Date.now)
})
