import { compileGlob, isGlob } from '../glob.ts'

/** Whether a text is the one that was configured, or one of its kind: a `*` stands for any characters. */
export function matchesText (configured: string, text: string): boolean {
  return isGlob(configured) ? compileGlob(configured.split('*'))(text) : configured === text
}
