import path from 'node:path'
import { readNamedFile } from '../files.ts'
import type { BundleFinding, KeyFinding, KeysReport } from '../server/keys-report.ts'
import { parseYaml } from '../yaml-text.ts'
import { print, readArguments, UsageError, type Verb } from './command.ts'
import { printableWhole } from './table.ts'

/** Looks at every key and secret that a server uses: where it is, how old, whether it can be read, what hangs on it. */
export const keysDoctor: Verb = {
  usage: '--config guard.yaml | --data FOLDER [--json]',
  async run (words) {
    const args = readArguments(words, { config: { type: 'string' }, data: { type: 'string' } })
    const report = await look(args.text('config'), args.text('data'))
    print(args, report, inWords(report))
    return report.ok
  }
}

async function look (file: string | undefined, folder: string | undefined): Promise<KeysReport> {
  const [{ defaultConfig, loadConfig }, { referencesIn }, { reportKeys }] = await Promise.all([import('../server/config.ts'), import('../server/kept-keys.ts'), import('../server/keys-report.ts')])
  if (file !== undefined && folder === undefined) {
    const config = await loadConfig(file)
    try {
      return await reportKeys(config, file, referencesIn(parseYaml((await readNamedFile(file)).toString(), file)))
    } finally {
      await config.vault?.close()
    }
  }
  if (folder === undefined || file !== undefined) throw new UsageError('one of --config and --data is required')
  return await reportKeys({ ...defaultConfig, data: path.resolve(folder) }, folder, new Map())
}

function inWords ({ keys, bundles, ok }: KeysReport): string {
  return [
    ...keys.flatMap(keyInWords),
    ...bundles.flatMap(bundleInWords),
    ok ? 'every key can be read, and every bundle opened' : 'something is wrong: see the lines that begin with !'
  ].map(printableWhole).join('\n')
}

function keyInWords ({ name, from, rotated, state, permissions, loss, ok }: KeyFinding): readonly string[] {
  return [
    `${ok ? ' ' : '!'} ${name}`,
    `    from       ${from}`,
    `    state      ${state}`,
    ...permissions === null ? [] : [`    permissions  ${permissions}`],
    `    since      ${rotated}`,
    `    if lost    ${loss}`
  ]
}

function bundleInWords ({ bundle, opensWith, others, onlyOne, problem, ok }: BundleFinding): readonly string[] {
  return [
    `${ok ? ' ' : '!'} ${bundle}`,
    ...problem === null ? [] : [`    problem    ${problem}`],
    `    opens with ${opensWith.join(', ') || 'nothing that is configured'}${onlyOne ? ' alone: if that is lost, so is this' : ''}`,
    ...others.length === 0 ? [] : [`    also for   ${others.join(', ')}`]
  ]
}
