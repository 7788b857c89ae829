import { prepareNetworks } from '../networks.ts'
import { listOf, optionInvalid, withDefault, type Reader } from '../options.ts'

/** Networks (`10.0.0.0/8`, `2001:db8::/32`) and single addresses. */
export const readAddressRanges: Reader<readonly string[]> = withDefault(listOf((value, path) => {
  if (typeof value !== 'string' || prepareNetworks([value]) === undefined) throw optionInvalid(path, 'a network like 10.0.0.0/8 or 2001:db8::/32, or an address', value)
  return value
}), [])

/** Whether an address lies in one of these ranges; what is no address lies in none. */
export function addressTest (ranges: readonly string[]): (address: string) => boolean {
  const lies = prepareNetworks(ranges)
  return (address) => lies?.(address) === true
}
