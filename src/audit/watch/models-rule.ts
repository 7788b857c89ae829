import { maxEvidence } from './recent.ts'
import type { Rule } from './rule.ts'
import { usual } from './usual.ts'
import type { RuleThresholds } from './watch-options.ts'

// Names beyond this are as many as anybody needs to see; what callers ask for takes no more memory.
const maxNames = 64

/** More models touched in the window, allowed or not, than anybody needs, and than this identity is used to. */
export function modelsRule ({ windowSeconds, models, learnDays, growthADay }: RuleThresholds['models']): Rule {
  return {
    name: 'models',
    quietSeconds: windowSeconds,
    follow () {
      const touched = new Map<string, { readonly time: number, readonly seq: number }>()
      const most = usual({ learnDays, growthADay })
      return ({ time, seq, model }) => {
        if (model === undefined) return undefined
        touched.delete(model)
        touched.set(model, { time, seq })
        for (const [name, { time: last }] of touched) if (last <= time - windowSeconds * 1000 || touched.size > maxNames) touched.delete(name)
        const measured = touched.size
        most.note(time, measured)
        const threshold = Math.max(models, most.figure ?? 0)
        if (measured <= threshold) return undefined
        return { measured, threshold, evidence: [...touched.values()].slice(-maxEvidence).map((last) => last.seq) }
      }
    }
  }
}
