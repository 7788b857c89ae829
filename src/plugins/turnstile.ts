import { setTimeout } from 'node:timers/promises'

/** Counts what is inside, and tells when nobody is. */
export interface Turnstile {
  enter (): void
  leave (): void
  /** Resolves when all have left, or after this time. */
  empty (timeoutMs: number): Promise<void>
}

/** An empty one. */
export function turnstile (): Turnstile {
  let inside = 0
  let tell = (): void => {}
  return {
    enter () { inside++ },
    leave () {
      inside--
      if (inside === 0) tell()
    },
    async empty (timeoutMs) {
      if (inside === 0) return
      const left = new Promise<void>((resolve) => { tell = resolve })
      const patience = new AbortController()
      await Promise.race([left, setTimeout(timeoutMs, undefined, { signal: patience.signal }).catch(() => {})])
      patience.abort()
    }
  }
}
