import type { Lease, SlotRequest } from './concurrency.ts'
import { concurrencyScript } from './concurrency-script.ts'
import { redisKey } from './redis-key.ts'
import { type RedisLike, scriptRunner } from './run-script.ts'

/** A request that wants its slots under this lease. */
export interface SlotQuestion {
  readonly lease: Lease
  readonly request: SlotRequest
}

/** What Redis is told of the leases of one group. */
export interface SlotCall<Question extends SlotQuestion = SlotQuestion> {
  readonly released: readonly Lease[]
  readonly renewed: readonly Lease[]
  readonly taken: readonly Question[]
}

/** How much of each goes into one command: Redis does nothing else meanwhile. */
const maxTogether = 500

/** The same in as many commands as it takes; all is released before anything is taken. */
export function inCommands<Question extends SlotQuestion> ({ released, renewed, taken }: SlotCall<Question>): SlotCall<Question>[] {
  const before = Math.max(0, commandsFor(released) - 1)
  const commands = Math.max(commandsFor(released), commandsFor(renewed), taken.length === 0 ? 0 : before + commandsFor(taken))
  return Array.from({ length: commands }, (_, index) => ({
    released: part(released, index),
    renewed: part(renewed, index),
    taken: index < before ? [] : part(taken, index - before)
  }))
}

function commandsFor (list: readonly unknown[]): number {
  return Math.ceil(list.length / maxTogether)
}

function part<T> (list: readonly T[], index: number): readonly T[] {
  return list.slice(index * maxTogether, (index + 1) * maxTogether)
}

const runScript = scriptRunner(concurrencyScript)

/** @returns what the script answers. */
export async function callSlots (client: RedisLike, prefix: string, leaseMs: number, { released, renewed, taken }: SlotCall): Promise<unknown> {
  const numbers = new Map<string, number>()
  const numberOf = (group: string, key: string): number => {
    const name = redisKey(prefix, group, key)
    const number = numbers.get(name) ?? numbers.size + 1
    numbers.set(name, number)
    return number
  }
  const asked = [leaseMs, byKey(released, numberOf), byKey(renewed, numberOf), taken.map(({ lease, request: { group, slots } }) =>
    [lease.id, ...slots.flatMap(({ key, limit: { max } }) => [numberOf(group, key), max])])]
  return await runScript(client, [numbers.size, ...numbers.keys(), JSON.stringify(asked)])
}

function byKey (leases: readonly Lease[], numberOf: (group: string, key: string) => number): (string | number)[][] {
  const entries = new Map<number, (string | number)[]>()
  for (const { id, group, keys } of leases) {
    for (const key of keys) {
      const number = numberOf(group, key)
      const entry = entries.get(number)
      if (entry === undefined) entries.set(number, [number, id])
      else entry.push(id)
    }
  }
  return [...entries.values()]
}
