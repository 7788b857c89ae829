import type { PermissionUsage, RoleUsage } from '../plugins/grant-use.ts'
import { policyUsage as usageOf, type UsageReport } from '../plugins/policy-usage.ts'
import { print, readArguments, type Verb } from './command.ts'
import { readRequestArguments, requestOptions, requestUsage } from './policy-replay.ts'
import { printable, table } from './table.ts'

/** Says which permissions, roles and rules nobody used, over the requests that a log holds: the least-privilege report. */
export const policyUsage: Verb = {
  usage: `--log FOLDER --policy FILE ${requestUsage}`,
  async run (words) {
    const args = readArguments(words, { ...requestOptions, policy: { type: 'string' } })
    const file = args.required('policy')
    const report = await usageOf(await readRequestArguments(args, file))
    print(args, report, describe(file, report))
    return true
  }
}

function describe (file: string, { policy, first, last, requests, allowed, unknown, principals, roles, rules, unneeded }: UsageReport): string {
  const permissions = roles.flatMap(({ role, permissions }) => permissions.map((usage) => [role, usage] as const))
  return [
    `${file} (${policy})`,
    `${requests} judged requests ${first === undefined ? 'in the log' : `from ${printable(first)} to ${printable(String(last))}`}, ${allowed} allowed, by ${principals} principals; of ${unknown} the log does not say all that the policy wants`,
    ...table('roles that nobody used', roles.filter(({ used }) => used === 0).map(({ role, holders }: RoleUsage) => [role, heldBy(holders)])),
    ...table('permissions never used', permissions.filter(([, { used }]) => used === 0).map(([role, { permission, holders }]) => [role, permission, heldBy(holders)])),
    ...table('permissions used', permissions.filter(([, { used }]) => used > 0).map(([role, usage]) => [usage.used, role, usage.permission, `by ${usage.users} of ${usage.holders}${actionsOf(usage)}`])),
    ...table('rules that never decided', rules.filter(({ decided }) => decided === 0).map(({ rule }) => [rule])),
    ...table('roles held and not needed', unneeded.map(({ principal, held, unneeded }) => [principal, unneeded.join(', '), `of ${held.join(', ')}`]))
  ].join('\n')
}

function heldBy (holders: number): string {
  return holders === 0 ? 'nobody was seen with it' : `never used by any of ${holders} holders`
}

/** What was used of a permission that says more than one thing. */
function actionsOf ({ permission, actions }: PermissionUsage): string {
  return permission.includes('*') ? `: ${Object.keys(actions).join(', ')}` : ''
}
