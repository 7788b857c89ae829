/** Waits for what another node, thread or callback did, turn by turn of the event loop. */
export async function until (holds: () => unknown): Promise<void> {
  while (await holds() !== true) await new Promise((resolve) => { setImmediate(resolve) })
}
