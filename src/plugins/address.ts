import { isIPv4, isIPv6 } from 'node:net'

/** What one subscriber has: an address of IPv4, a /64 of IPv6. */
export function subscriber (address: string): string {
  const plain = unmapped(address)
  return isIPv4(plain) ? plain : addressPrefix(plain)
}

function unmapped (address: string): string {
  return address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '')
}

/** The network that an address belongs to, for records: /24 of IPv4, /64 of IPv6. */
export function addressPrefix (address: string): string {
  const mapped = unmapped(address)
  if (isIPv4(mapped)) return `${mapped.slice(0, mapped.lastIndexOf('.'))}.0/24`
  if (!isIPv6(mapped)) return 'unknown'
  const [head = '', tail] = mapped.replace(/%.*$/, '').split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0')
  const groups = [...before, ...zeros, ...after].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''))
  return `${groups.join(':')}::/64`
}
