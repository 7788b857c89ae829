import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

// proc(5) counts in USER_HZ, 100 on every Linux that Node runs on.
const tickMicroseconds = 1e6 / 100

/** Core of the server, and core of everything that is not to be measured. */
export const serverCore = 0
export const loadCore = 1

/** Whether server and load can be kept on a core each. */
export const canPin = availableParallelism() > 1 && spawnSync('taskset', ['--version']).status === 0

/** The same command, kept on one core where that can be done. */
export function pinned (core: number, command: string, args: readonly string[]): [string, string[]] {
  return canPin ? ['taskset', ['-c', `${core}`, command, ...args]] : [command, [...args]]
}

/** Moves a running process, all its threads, to one core. */
export function pinProcess (core: number, pid: number): void {
  if (canPin) spawnSync('taskset', ['-acp', `${core}`, `${pid}`])
}

/** CPU time of a process so far, user and system, all its threads, in microseconds; in steps of 10 ms. */
export function cpuMicroseconds (pid: number): number {
  const [user = 0, system = 0] = statOf(pid)
  return (user + system) * tickMicroseconds
}

/** CPU time so far of this process and of all that it has started and that have ended, in microseconds. */
export function ownMicroseconds (): number {
  return statOf(process.pid).reduce((sum, ticks) => sum + ticks, 0) * tickMicroseconds
}

/** Fields 14 to 17 of proc(5) `pid/stat`: user and system time, and that of children that have ended. */
function statOf (pid: number): number[] {
  // Counted after the parenthesised name, which may itself hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return fields.slice(11, 15).map(Number)
}

/** What all cores together did so far, in microseconds. */
export interface MachineTime {
  readonly total: number
  /** They ran some process. */
  readonly busy: number
  /** They wanted to run, and the machine's host ran something else. */
  readonly stolen: number
}

/** Reads the first line of proc(5) `stat`. */
export function machineTime (): MachineTime {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1)
  const ticks = line.split(/\s+/).slice(1, 9).map((text) => Number(text) * tickMicroseconds)
  const [user = 0, nice = 0, system = 0] = ticks
  return { total: ticks.reduce((sum, tick) => sum + tick, 0), busy: user + nice + system, stolen: ticks[7] ?? 0 }
}
