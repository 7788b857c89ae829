import type { BenchOptions } from '../bench.ts'
import { sample, type Sample } from '../measure/sample.ts'
import type { Candidate, Candidates, Variant } from './candidates.ts'

const warmUpSeconds = 5

/** A variant and what it is held against, measured one right after the other. */
export interface Comparison {
  readonly bare: Sample
  readonly guarded: Sample
  readonly handAssembled: Sample
}

/** The comparisons of one variant, one a round. */
export interface Measured {
  readonly variant: Variant
  readonly comparisons: readonly Comparison[]
}

/** Measures every variant between a run of bare Fastify and one of the stack assembled by hand; every other round goes backwards. */
export async function measure ({ bare, handAssembled, variants }: Candidates, { rounds, seconds, progress }: BenchOptions): Promise<Measured[]> {
  const once = async ({ server, load }: Candidate): Promise<Sample> => await sample(server, load, seconds)
  progress('warming up')
  for (const { server, load } of [bare, handAssembled, ...variants]) await load.generate(server.url, warmUpSeconds)

  const measured = variants.map((variant) => ({ variant, comparisons: new Array<Comparison>() }))
  for (let round = 1; round <= rounds; round++) {
    const isForward = round % 2 === 1
    for (const { variant, comparisons } of isForward ? measured : measured.toReversed()) {
      progress(`round ${round} of ${rounds}: ${variant.name}`)
      const first = await once(isForward ? bare : handAssembled)
      const guarded = await once(variant)
      const last = await once(isForward ? handAssembled : bare)
      comparisons.push(isForward ? { bare: first, guarded, handAssembled: last } : { bare: last, guarded, handAssembled: first })
    }
  }
  return measured
}
