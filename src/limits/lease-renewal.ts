import type { Lease } from './concurrency.ts'
import type { LeaseCounts } from './lease-counts.ts'
import { inCommands, type SlotCall } from './slot-call.ts'

/** Heartbeats within the life of a lease: four may be lost. */
const beats = 5

export interface LeaseRenewalOptions {
  readonly held: LeaseCounts
  readonly leaseMs: number
  /** Milliseconds. */
  readonly now: () => number
  /** Tells Redis of leases of one group. */
  readonly send: (call: SlotCall) => Promise<unknown>
}

/** Keeps alive what is held. */
export interface LeaseRenewal {
  /** There is something to keep alive. */
  start (): void
  /** The release of these did not arrive. */
  repeat (leases: readonly Lease[]): void
}

/** The heartbeat of a node: runs while it holds leases, and does not keep the process alive. */
export function leaseRenewal ({ held, leaseMs, now, send }: LeaseRenewalOptions): LeaseRenewal {
  /** Until when each may still stand in Redis. */
  const unreleased = new Map<Lease, number>()
  let timer: NodeJS.Timeout | undefined
  /** When the heartbeat went out that has not been answered yet. */
  let unansweredSince = -Infinity

  function start (): void {
    timer ??= setInterval(beat, leaseMs / beats).unref()
  }

  function beat (): void {
    const time = now()
    for (const [lease, until] of unreleased) if (until <= time) unreleased.delete(lease)
    if (held.groups.size === 0 && unreleased.size === 0) {
      clearInterval(timer)
      timer = undefined
    } else if (time - unansweredSince >= leaseMs) {
      // Commands to a Redis that stands still would pile up.
      unansweredSince = time
      void Promise.all(calls().map(tell)).then(() => { unansweredSince = -Infinity })
    }
  }

  /** One a group, where it does not hold more than one command takes. */
  function calls (): SlotCall[] {
    const released = new Map<string, Lease[]>()
    for (const lease of unreleased.keys()) {
      const ofGroup = released.get(lease.group)
      if (ofGroup === undefined) released.set(lease.group, [lease])
      else ofGroup.push(lease)
    }
    return [...new Set([...held.groups.keys(), ...released.keys()])].flatMap((group) =>
      inCommands({ released: released.get(group) ?? [], renewed: [...held.groups.get(group) ?? []], taken: [] }))
  }

  async function tell (call: SlotCall): Promise<void> {
    try {
      await send(call)
      for (const lease of call.released) unreleased.delete(lease)
    } catch {
      // The next heartbeat says it again.
    }
  }

  return {
    start,
    repeat (leases) {
      for (const lease of leases) unreleased.set(lease, now() + leaseMs)
      if (leases.length > 0) start()
    }
  }
}
