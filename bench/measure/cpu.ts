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
  // Fields 14 and 15, counted after the parenthesised name, which may itself hold spaces.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * tickMicroseconds
}

/** What a core did so far, in microseconds. */
export interface CoreTime {
  readonly total: number
  /** It ran some process. */
  readonly busy: number
  /** It wanted to run, and the machine's host ran something else. */
  readonly stolen: number
}

/** Reads proc(5) `stat`; only the order of its first eight columns is relied on. */
export function coreTime (core: number): CoreTime {
  const line = readFileSync('/proc/stat', 'utf8').split('\n').find((candidate) => candidate.startsWith(`cpu${core} `)) ?? ''
  const ticks = line.split(' ').slice(1, 9).map(Number)
  const [user = 0, nice = 0, system = 0] = ticks
  const stolen = ticks[7] ?? 0
  const total = ticks.reduce((sum, tick) => sum + tick, 0)
  return { total: total * tickMicroseconds, busy: (user + nice + system) * tickMicroseconds, stolen: stolen * tickMicroseconds }
}
