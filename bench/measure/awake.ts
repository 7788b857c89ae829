import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { canPin, loadCore, pinned, serverCore } from './cpu.ts'

/** Whether cores can be kept awake here. */
export const canKeepAwake = canPin && spawnSync('chrt', ['--idle', '0', 'true']).status === 0

/**
 * Keeps the cores of server and load from halting meanwhile, by programs that run where nothing else wants to (sched(7), SCHED_IDLE). A halted
 * core of a virtual machine is woken by the machine's host, which takes a server some 20 us of every answer that comes later than the load
 * went to sleep: what is measured is then how often that was.
 */
export async function keepAwake<T> (work: () => Promise<T>): Promise<T> {
  const programs = canKeepAwake ? [serverCore, loadCore].map((core) => spawn('chrt', ['--idle', '0', ...pinned(core, 'sh', ['-c', 'while :; do :; done']).flat()], { stdio: 'ignore' })) : []
  const stop = (): void => { for (const program of programs) program.kill('SIGKILL') }
  process.once('exit', stop)
  try {
    return await work()
  } finally {
    const ended = programs.map(async (program) => { await once(program, 'exit') })
    stop()
    await Promise.all(ended)
    process.off('exit', stop)
  }
}
