import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { startPrivateRedis } from '../scripts/redis.js'
import type { Bench } from './bench.ts'
import { startCandidates } from './http/candidates.ts'
import { makeFixture } from './http/fixture.ts'
import { measure } from './http/measure.ts'
import { report } from './http/report.ts'
import { loadCore, pinProcess } from './measure/cpu.ts'
import { checkWrk } from './measure/wrk.ts'

/** Requests a second, and CPU time a request, of three servers that answer the same. All run at once and are asked one after the other. */
export const http: Bench = {
  title: 'the whole guard against bare Fastify, and against a stack assembled by hand',
  async run (options) {
    checkWrk()
    const folder = await mkdtemp(path.join(tmpdir(), 'model-guard-bench-'))
    const redis = await startPrivateRedis()
    try {
      pinProcess(loadCore, redis.pid)
      options.progress('1000 callers, and the servers')
      const candidates = await startCandidates(await makeFixture(folder), redis)
      try {
        return await report(await measure(candidates, options), folder)
      } finally {
        await candidates.stop()
      }
    } finally {
      await redis.stop()
      await rm(folder, { recursive: true, force: true })
    }
  }
}
