import type { WitnessTermsOptions } from '../audit/witness-terms.ts'
import { readNamedFile } from '../files.ts'
import { UsageError, type Arguments } from './command.ts'

/** How a verb names witnesses: files that hold their `vkey`s. */
export const witnessOptions = { witness: { type: 'string', multiple: true }, 'witnesses-required': { type: 'string' } } as const

export const witnessUsage = '[--witness VKEY-FILE]… [--witnesses-required N]'

/** The witnesses that a command was given. */
export async function readWitnessOptions (args: Arguments): Promise<WitnessTermsOptions> {
  const witnesses = await Promise.all(args.texts('witness').map(async (file) => (await readNamedFile(file)).toString().trim()))
  const required = args.text('witnesses-required')
  if (required !== undefined && !/^[1-9][0-9]{0,2}$/.test(required)) throw new UsageError(`--witnesses-required is a number of witnesses, not ${required}`)
  return { witnesses, ...required !== undefined && { witnessesRequired: Number(required) } }
}

/** The `vkey`s' names and times under a checkpoint, in words. */
export function witnessedBy (cosignatures: readonly { readonly witness: { readonly name: string }, readonly time: number }[]): readonly string[] {
  return cosignatures.map(({ witness, time }) => `witnessed at ${new Date(time * 1000).toISOString()} by ${witness.name}`)
}
