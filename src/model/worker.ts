import { parentPort } from 'node:worker_threads'
import { answerRequests } from './runtime.ts'

if (parentPort !== null) answerRequests(parentPort, async () => await import('onnxruntime-node'))
