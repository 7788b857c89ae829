import { slowModelName, slowModelRequest } from './slow-model.ts'

/** One answered inference. */
export interface Run {
  /** From request to answer; the model is asked twice at once, so that the next run is waiting when one ends. */
  readonly ms: number
}

const callers = 2

/** Runs the slow model back to back until this promise settles. */
export async function inferUntil (done: Promise<unknown>, url: string, key: string): Promise<readonly Run[]> {
  let isDone = false
  void done.finally(() => { isDone = true }).catch(() => undefined)
  const runs: Run[] = []
  const call = async (): Promise<void> => {
    while (!isDone) runs.push(await infer(url, key))
  }
  await Promise.all(Array.from({ length: callers }, call))
  return runs
}

async function infer (url: string, key: string): Promise<Run> {
  const sent = performance.now()
  const response = await fetch(`${url}/v2/models/${slowModelName}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify(slowModelRequest)
  })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`the slow model answers with ${response.status}: ${text}`)
  return { ms: performance.now() - sent }
}
