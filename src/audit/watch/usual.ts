export interface UsualOptions {
  /** Days with requests before anything counts as unusual. */
  readonly learnDays: number
  /** By what factor a day can raise the figure, once it is learnt: nobody makes a habit of an attack overnight. */
  readonly growthADay: number
}

/** A figure that an identity reaches on ordinary days. */
export interface Usual {
  /** Takes in what was reached at this time. A day counts when it is over. */
  note (time: number, figure: number): void
  /** `undefined` until it is learnt. */
  readonly figure: number | undefined
}

const dayMs = 86_400_000
const shrinkADay = 0.97

/**
 * The highest figure of the days on which there was one: a weekly job is as usual as a daily one, and who was away for a month finds
 * the same figure as before. It falls by 3 % a day towards what days reach now.
 */
export function usual ({ learnDays, growthADay }: UsualOptions): Usual {
  let figure = 0
  let days = 0
  let day = -Infinity
  let highest = 0

  function takeDay (): void {
    if (days < learnDays) figure = Math.max(figure, highest)
    else if (highest > figure) figure = Math.min(highest, figure * growthADay)
    else figure = Math.max(highest, figure * shrinkADay)
    days++
    highest = 0
  }

  return {
    note (time, reached) {
      const today = Math.floor(time / dayMs)
      if (today > day) {
        if (day !== -Infinity) takeDay()
        day = today
      }
      highest = Math.max(highest, reached)
    },
    get figure () { return days < learnDays ? undefined : figure }
  }
}
