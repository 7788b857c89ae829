import type { Bench, BenchResult } from './bench.ts'
import { casbinEngine, caslEngine, cedarEngine, guardEngine, type Engine } from './authz/engines.ts'
import { questionsAbout, rulesOf, type Question } from './authz/rules.ts'
import { figure, rounded, type Figure } from './measure/statistics.ts'
import { table } from './table.ts'

const counts = [10, 100, 1000, 10_000] as const

interface Subject {
  readonly name: string
  readonly count: number
  readonly engine: Engine
  readonly questions: readonly Question[]
  /** Microseconds of one decision, a figure a round. */
  readonly micros: number[]
}

/** Decisions of the policy engine beside others', on the same rules and questions, in one process. */
export const authz: Bench = {
  title: 'decisions of the policy engine, against casbin, Cedar and CASL, from 10 to 10,000 rules',
  async run ({ rounds, seconds, progress }) {
    progress('reading rules')
    const subjects = await makeSubjects()
    for (const subject of subjects) checkAnswers(subject)
    for (let round = 0; round <= rounds; round++) {
      progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
      for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
        const micros = measure(subject, seconds * 1000 / subjects.length)
        if (round > 0) subject.micros.push(micros)
      }
    }
    return report(subjects)
  }
}

async function makeSubjects (): Promise<readonly Subject[]> {
  const subjects: Subject[] = []
  for (const count of counts) {
    const rules = rulesOf(count)
    const questions = questionsAbout(count)
    const add = (name: string, engine: Engine): void => { subjects.push({ name, count, engine, questions, micros: [] }) }
    add('guard', guardEngine(rules))
    add('guard, nothing to index by', guardEngine(rules, false))
    add('casbin', await casbinEngine(rules))
    add('Cedar', cedarEngine(rules))
  }
  const [own] = questionsAbout(10)
  if (own !== undefined) subjects.push({ name: 'CASL', count: 1, engine: caslEngine(), questions: [own], micros: [] })
  return subjects
}

/** A wrong answer is not worth measuring. */
function checkAnswers ({ name, count, engine, questions }: Subject): void {
  const wrong = questions.find((question) => engine(question) !== question.allowed)
  if (wrong !== undefined) throw new Error(`${name} with ${count} rules decides otherwise on ${wrong.resource.id} for ${wrong.principal.team}`)
}

function measure ({ engine, questions }: Subject, milliseconds: number): number {
  const start = performance.now()
  let decisions = 0
  let elapsed = 0
  while (elapsed < milliseconds) {
    for (const question of questions) engine(question)
    decisions += questions.length
    elapsed = performance.now() - start
  }
  return elapsed * 1000 / decisions
}

function report (subjects: readonly Subject[]): BenchResult {
  const of = (name: string, count: number): readonly number[] => subjects.find((subject) => subject.name === name && subject.count === count)?.micros ?? []
  const ratio = (a: readonly number[], b: readonly number[]): Figure => figure(a.map((micros, round) => micros / (b[round] ?? NaN)))
  const figures: readonly (readonly [string, Figure])[] = [
    ['growth_10000_over_10', ratio(of('guard', 10_000), of('guard', 10))],
    ['vs_casbin_10000', ratio(of('casbin', 10_000), of('guard', 10_000))],
    ['vs_cedar_10000', ratio(of('Cedar', 10_000), of('guard', 10_000))],
    ['vs_casl_10', ratio(of('CASL', 1), of('guard', 10))],
    ['unindexed_growth_10000_over_10', ratio(of('guard, nothing to index by', 10_000), of('guard, nothing to index by', 10))]
  ]
  const rows = subjects.map(({ name, count, micros }) => {
    const { median, min, max } = figure(micros)
    return [name, `${count}`, `${rounded(median)}`, `${rounded(min)} to ${rounded(max)}`, `${Math.round(1e6 / median)}`]
  })
  return {
    ratios: Object.fromEntries(figures.map(([name, { median }]) => [name, rounded(median)])),
    details: { ranges: Object.fromEntries(figures.map(([name, { min, max }]) => [name, [rounded(min), rounded(max)]])) },
    text: [
      table([['', 'rules', 'us a decision', 'rounds', 'decisions/s'], ...rows]),
      table([['', 'median', 'rounds'], ...figures.map(([name, { median, min, max }]) => [name, `${rounded(median)}`, `${rounded(min)} to ${rounded(max)}`])])
    ].join('\n\n')
  }
}
