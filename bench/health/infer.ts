import { slowModelName, slowModelRequest } from './slow-model.ts'

// Two, so that the next run is waiting when one ends.
const callers = 2

/** Runs the slow model back to back until this promise settles. @returns how often it answered until then. */
export async function inferUntil (done: Promise<unknown>, url: string, key: string): Promise<number> {
  const state = { isDone: false, runs: 0 }
  const end = (): void => { state.isDone = true }
  done.then(end, end)
  const call = async (): Promise<void> => {
    while (!state.isDone) {
      await infer(url, key)
      state.runs++
    }
  }
  await Promise.all(Array.from({ length: callers }, call))
  // Each caller's last answer came too late.
  return state.runs - callers
}

async function infer (url: string, key: string): Promise<void> {
  const response = await fetch(`${url}/v2/models/${slowModelName}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify(slowModelRequest)
  })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`the slow model answers with ${response.status}: ${text}`)
}
