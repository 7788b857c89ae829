import { sketcher } from '../../../src/audit/watch/sketch.ts'
import type { RandomNumbers } from './random-numbers.ts'

export const dimension = 64
const kinds = 10
const styles = 6

export type Input = Float32Array

/** What inputs of one model look like: ten kinds of things in a few styles, with some noise, all from 0 to 1. */
export interface InputSpace {
  readonly model: string
  /** An ordinary input, of one of these kinds. */
  ordinary (random: RandomNumbers, ofKinds: readonly number[]): Input
}

/** The space of a model, the same for everybody. */
export function inputSpace (model: string, random: RandomNumbers): InputSpace {
  const prototypes = Array.from({ length: kinds }, () => Array.from({ length: dimension }, () => random.chance(0.4) ? random.uniform() : 0))
  const ways = Array.from({ length: styles }, () => Array.from({ length: dimension }, () => random.normal() * 0.12))
  return {
    model,
    ordinary (random, ofKinds) {
      const prototype = prototypes[random.pick(ofKinds)] ?? []
      const amounts = ways.map(() => random.normal())
      const input = new Float32Array(dimension)
      for (let index = 0; index < dimension; index++) {
        let value = (prototype[index] ?? 0) + random.normal() * 0.03
        for (let way = 0; way < styles; way++) value += (ways[way]?.[index] ?? 0) * (amounts[way] ?? 0)
        input[index] = Math.max(0, Math.min(1, value))
      }
      return input
    }
  }
}

/** An input drawn from all that there could be. */
export function anyInput (random: RandomNumbers, filled: number): Input {
  return Float32Array.from({ length: dimension }, () => random.chance(filled) ? random.uniform() : 0)
}

/** Between two inputs. */
export function between (a: Input, b: Input, share: number): Input {
  return a.map((value, index) => value + ((b[index] ?? 0) - value) * share)
}

const sketch = sketcher({ secret: Buffer.alloc(32, 7) })

/** The sketch of an input, by the code that servers use. */
export function sketchOf (model: string, input: Input): string | undefined {
  return sketch(model, { x: { datatype: 'FP32', shape: [1, dimension], data: new Uint8Array(input.buffer) } })
}
