import { largestPart, type Budget } from './budget.ts'

/** What a budget is found by. */
export interface Place {
  readonly group: string
  readonly key: string
  /** Of what one principal alone spends; what is counted together has none. */
  readonly sharer: string | undefined
}

/** As many budgets as there are places. Times are microseconds. */
export interface BudgetShelf {
  readonly size: number
  find (place: Place): Budget | undefined
  /** Where no place is left, another budget goes: of the next 16 in turn, all that have run out, or else the one that has used the smallest part of its quota. */
  add (place: Place, budget: Budget, time: number): void
  /** Whether so many more have a place, once some of what has run out was forgotten. */
  hasPlaces (wanted: number, time: number): boolean
}

/** How many budgets are looked at to find the one that makes room for another; and how many more when all of these are exhausted. */
const candidates = 16
const maxCandidates = 1024

/** Budgets of one group. Maps within a map: names that are put together would have to be hashed for every question. */
interface Group {
  readonly name: string
  readonly together: Map<string, Shelved>
  readonly ofSharers: Map<string, Shelved>
}

/** A budget, and where it stands. */
interface Shelved {
  readonly budget: Budget
  readonly group: Group
  readonly among: Map<string, Shelved>
  readonly id: string
}

/** An empty one. */
export function budgetShelf (places: number): BudgetShelf {
  const groups = new Map<string, Group>()
  const all = new Set<Shelved>()
  let turn = all.values()

  return {
    get size () { return all.size },

    find ({ group: name, key, sharer }) {
      const group = groups.get(name)
      return (sharer === undefined ? group?.together.get(key) : group?.ofSharers.get(idOf(key, sharer)))?.budget
    },

    add ({ group: name, key, sharer }, budget, time) {
      if (all.size >= places) makeRoom(time)
      const group = groups.get(name) ?? { name, together: new Map<string, Shelved>(), ofSharers: new Map<string, Shelved>() }
      groups.set(name, group)
      const shelved = sharer === undefined ? { budget, group, among: group.together, id: key } : { budget, group, among: group.ofSharers, id: idOf(key, sharer) }
      shelved.among.set(shelved.id, shelved)
      all.add(shelved)
    },

    hasPlaces (wanted, time) {
      for (let looks = 0; looks < candidates && all.size + wanted > places; looks++) {
        const shelved = next()
        if (shelved !== undefined && largestPart(shelved.budget, time) === 0) remove(shelved)
      }
      return wanted === 0 || all.size + wanted <= places
    }
  }

  function makeRoom (time: number): void {
    let leastUsed: Shelved | undefined
    let smallest = Infinity
    for (let looks = 0; looks < candidates || (smallest >= 1 && looks < maxCandidates); looks++) {
      const shelved = next()
      if (shelved === undefined) continue
      const part = largestPart(shelved.budget, time)
      if (part === 0) remove(shelved)
      if (part < smallest) {
        smallest = part
        leastUsed = shelved
      }
    }
    if (leastUsed !== undefined) remove(leastUsed)
  }

  /** The next in turn; `undefined` where the turn begins anew. */
  function next (): Shelved | undefined {
    const step = turn.next()
    if (step.done !== true) return step.value
    turn = all.values()
    return undefined
  }

  function remove (shelved: Shelved): void {
    all.delete(shelved)
    const { group, among, id } = shelved
    among.delete(id)
    if (group.together.size === 0 && group.ofSharers.size === 0) groups.delete(group.name)
  }
}

/** The length keeps `a` of `bc` apart from `ab` of `c`. */
function idOf (key: string, sharer: string): string {
  return `${key.length}:${key}${sharer}`
}
