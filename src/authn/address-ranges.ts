import { BlockList, isIP } from 'node:net'
import { listOf, optionInvalid, withDefault, type Reader } from '../options.ts'

/** Networks (`10.0.0.0/8`, `2001:db8::/32`) and single addresses. */
export const readAddressRanges: Reader<readonly string[]> = withDefault(listOf((value, path) => {
  if (typeof value !== 'string' || !addRange(new BlockList(), value)) throw optionInvalid(path, 'a network like 10.0.0.0/8 or 2001:db8::/32, or an address', value)
  return value
}), [])

/**
 * Whether an address lies in one of these ranges; what is no address lies in none.
 * An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is the same address.
 */
export function addressTest (ranges: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const range of ranges) addRange(list, range)
  return (address) => {
    const version = isIP(address)
    return version !== 0 && list.check(address, family(version))
  }
}

function addRange (list: BlockList, range: string): boolean {
  const [address = '', bits, ...others] = range.split('/')
  const version = isIP(address)
  const length = version === 4 ? 32 : 128
  // A zone (`fe80::1%eth0`) names an interface of one machine: it has no place in a record for many.
  if (version === 0 || address.includes('%') || others.length > 0) return false
  if (bits !== undefined && (!/^(?:0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > length)) return false
  list.addSubnet(address, bits === undefined ? length : Number(bits), family(version))
  return true
}

function family (version: number): 'ipv4' | 'ipv6' {
  return version === 4 ? 'ipv4' : 'ipv6'
}
