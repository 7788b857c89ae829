import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { pinned, serverCore } from './cpu.ts'

/** A server in a process of its own. */
export interface ChildServer {
  /** Its program, and what it was told. */
  readonly name: string
  readonly url: string
  readonly pid: number
  stop (): Promise<void>
}

export interface ChildServerOptions {
  /** Compiled program, below `dist/bench`. It prints its URL when it listens, and ends on SIGTERM. */
  readonly program: string
  readonly args: readonly string[]
  /** Keeps it on the server's core. A server that needs more than one core is left to the scheduler. */
  readonly core?: 'server' | 'any'
}

const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })

const programs = path.join(import.meta.dirname, '..')

/** Starts a server and waits until it listens. What it writes to standard error is shown. */
export async function startServer ({ program, args, core = 'server' }: ChildServerOptions): Promise<ChildServer> {
  const words = [...flags(), path.join(programs, program), ...args]
  const [command, commandArgs] = core === 'server' ? pinned(serverCore, process.execPath, words) : [process.execPath, words]
  const child = spawn(command, commandArgs, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  running.add(child)
  const url = await Promise.race([once(createInterface(child.stdout), 'line').then(String), ended.then(() => undefined)])
  if (url === undefined || child.pid === undefined) throw new Error(`${program} ended before it listened`)
  return {
    name: [program, ...args].join(' '),
    url,
    pid: child.pid,
    async stop () {
      child.kill('SIGTERM')
      await ended
      running.delete(child)
    }
  }
}

/** Options of Node for the servers, for instance `--cpu-prof`. */
function flags (): string[] {
  return (process.env['BENCH_NODE_OPTIONS'] ?? '').split(' ').filter((flag) => flag !== '')
}
