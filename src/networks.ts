import { BlockList, isIP } from 'node:net'

/**
 * A test whether an address lies in any of these networks (`10.0.0.0/8`, `2001:db8::/32`) or is one of these addresses; `undefined` when
 * one of them is neither. An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is the same address. What is no address cannot be evaluated.
 */
export function prepareNetworks (networks: readonly unknown[]): ((value: unknown) => boolean | undefined) | undefined {
  const list = new BlockList()
  if (networks.length === 0 || !networks.every((network) => addNetwork(list, network))) return undefined
  return (value) => {
    const version = typeof value === 'string' ? isIP(value) : 0
    return typeof value !== 'string' || version === 0 ? undefined : list.check(value, family(version))
  }
}

function addNetwork (list: BlockList, network: unknown): boolean {
  if (typeof network !== 'string') return false
  const [address = '', bits, ...others] = network.split('/')
  const version = isIP(address)
  const length = version === 4 ? 32 : 128
  // A zone (`fe80::1%eth0`) names an interface of one machine: it has no place in what is for many.
  if (version === 0 || address.includes('%') || others.length > 0) return false
  if (bits !== undefined && (!/^(?:0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > length)) return false
  list.addSubnet(address, bits === undefined ? length : Number(bits), family(version))
  return true
}

function family (version: number): 'ipv4' | 'ipv6' {
  return version === 4 ? 'ipv4' : 'ipv6'
}
