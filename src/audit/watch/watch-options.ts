import { allOptional, anyThat, integer, withDefault, type Read, type Reader } from '../../options.ts'

/** Of 1: a half is 0.5. */
const share = anyThat((value): value is number => typeof value === 'number' && value > 0 && value <= 1, 'a number above 0, at most 1')
const factor = anyThat((value): value is number => typeof value === 'number' && value > 1 && value <= 1000, 'a number above 1, at most 1000')
const positive = anyThat((value): value is number => typeof value === 'number' && value >= 0 && value <= 1, 'a number from 0 to 1')
const count = integer({ min: 1 })
const days = integer({ min: 1, max: 366 })
const seconds = integer({ min: 6, max: 7 * 86_400 })
const hours = integer({ min: 1, max: 24 })

const thresholds = {
  /** Requests of one identity in the window, whatever is normal for it. */
  ceiling: allOptional({ windowSeconds: withDefault(seconds, 60), requests: withDefault(count, 1000) }),
  /** Requests within an hour, and within a day, as a multiple of the identity's own busiest ones. */
  volume: allOptional({ factor: withDefault(factor, 10), dayFactor: withDefault(factor, 5), minRequests: withDefault(count, 200), learnDays: withDefault(days, 7), growthADay: withDefault(factor, 1.2) }),
  errors: allOptional({ windowSeconds: withDefault(seconds, 1800), share: withDefault(share, 0.5), minErrors: withDefault(count, 50) }),
  models: allOptional({ windowSeconds: withDefault(seconds, 3600), models: withDefault(count, 5), learnDays: withDefault(days, 7), growthADay: withDefault(factor, 1.2) }),
  denials: allOptional({ windowSeconds: withDefault(seconds, 3600), share: withDefault(share, 0.2), minDenied: withDefault(count, 30) }),
  /** Bad credentials of strangers of one address prefix. */
  probing: allOptional({ windowSeconds: withDefault(seconds, 600), failures: withDefault(count, 100) }),
  range: allOptional({ minRequests: withDefault(count, 20), learnDays: withDefault(days, 7), knownAfterDays: withDefault(days, 3), maxRanges: withDefault(count, 8) }),
  hours: allOptional({ minRequests: withDefault(count, 20), learnDays: withDefault(days, 10), minDays: withDefault(days, 2), maxHours: withDefault(hours, 16), nearHours: withDefault(integer({ min: 0, max: 11 }), 2) }),
  novelty: allOptional({ share: withDefault(share, 0.9), minInputs: withDefault(count, 100), usualShare: withDefault(share, 0.5), learnDays: withDefault(days, 5) }),
  walk: allOptional({ share: withDefault(share, 0.2), minSteps: withDefault(count, 40) }),
  coverage: allOptional({ share: withDefault(share, 0.25), minStrange: withDefault(count, 30) }),
  /** A strange input and a step cost 1, any other that is new `ordinaryUnits`. */
  budget: allOptional({ units: withDefault(count, 2500), days: withDefault(days, 28), ordinaryUnits: withDefault(positive, 0.01) })
}

/** What each rule takes for too much, every member given. */
export type RuleThresholds = { readonly [K in keyof typeof thresholds]: Read<typeof thresholds[K]> }

/** A rule. */
export type RuleName = keyof RuleThresholds

/** What the rules are told. */
export interface WatchOptions {
  /** Thresholds of rules, as in docs/anomaly.md; `off` for one that is not to run. Left out, a rule has its defaults. */
  readonly rules?: { readonly [K in RuleName]?: Partial<RuleThresholds[K]> | 'off' }
  /** Principals that are followed at most. Default 10,000, about 8 kB each. */
  readonly maxIdentities?: number
  /** Address prefixes of strangers that are followed at most. Default 10,000. */
  readonly maxAddresses?: number
  /** Inputs of a model that must be known, and identities that they must come from, before one of them is strange. Default 2,000 and 5. */
  readonly learnInputs?: number
  readonly learnIdentities?: number
}

function ruleOrOff<T> (reader: Reader<T>): Reader<T | 'off'> {
  return (value, path) => value === 'off' ? value : reader(value, path)
}

const { ceiling, volume, errors, models, denials, probing, range, hours: ofHours, novelty, walk, coverage, budget } = thresholds

/** Members of {@link WatchOptions}. */
export const watchShape = {
  rules: allOptional({
    ceiling: ruleOrOff(ceiling),
    volume: ruleOrOff(volume),
    errors: ruleOrOff(errors),
    models: ruleOrOff(models),
    denials: ruleOrOff(denials),
    probing: ruleOrOff(probing),
    range: ruleOrOff(range),
    hours: ruleOrOff(ofHours),
    novelty: ruleOrOff(novelty),
    walk: ruleOrOff(walk),
    coverage: ruleOrOff(coverage),
    budget: ruleOrOff(budget)
  }),
  maxIdentities: withDefault(integer({ min: 8 }), 10_000),
  maxAddresses: withDefault(integer({ min: 8 }), 10_000),
  learnInputs: withDefault(count, 2000),
  learnIdentities: withDefault(count, 5)
}

/** Checks options and fills in what was left out. */
export const readWatchOptions = allOptional(watchShape)

/** Names of the rules. */
export const ruleNames: readonly RuleName[] = ['ceiling', 'volume', 'errors', 'models', 'denials', 'probing', 'range', 'hours', 'novelty', 'walk', 'coverage', 'budget']
