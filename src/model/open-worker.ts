import { readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { openBlocks, type OpenJob } from './open-blocks.ts'

// Blocks between two messages: about 16 MiB.
const progressBlocks = 16

const port = parentPort
port?.on('message', (job: OpenJob) => {
  let blocks = 0
  const share = openBlocks(job, (fd, target, offset) => readSync(fd, target, 0, target.length, offset), () => {
    if (++blocks % progressBlocks === 0) port.postMessage('progress')
  })
  port.postMessage(share)
})
