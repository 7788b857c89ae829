import path from 'node:path'
import { exists, writeFileAtomic } from '../files.ts'
import { bomGate } from '../model/bom/bom-gate.ts'
import { bomName, maxBomBytes, readBom } from '../model/bom/bom.ts'
import { makeBom } from '../model/bom/make-bom.ts'
import { readSmallFile } from '../model/folder.ts'
import { inspectModel } from '../model/inspect-model.ts'
import { print, readArguments, type Verb } from './command.ts'

/** Writes the bill of materials of a model that is about to be signed. */
export const modelBom: Verb = {
  usage: 'FOLDER [--licence SPDX] [--package PURL]… [--json]',
  async run (words) {
    const args = readArguments(words, { licence: { type: 'string' }, package: { type: 'string', multiple: true } }, ['FOLDER'])
    const directory = args.required('FOLDER')
    const text = await makeBom({ directory, licence: args.text('licence'), packages: args.texts('package') })
    const file = path.join(directory, bomName)
    await writeFileAtomic(file, text, 0o644)
    const { components } = readBom(Buffer.from(text))
    const [files, packages] = ['file', 'library'].map((wanted) => components.filter(({ type }) => type === wanted).length)
    print(args, { file, files, packages }, `${file} lists ${counted(files, 'file')} and ${counted(packages, 'package')}; sign the model now`)
    return true
  }
}

/** Says what is wrong with the bill of materials of a signed plaintext model, or with what it lists. Verifies no signature. */
export const modelCheckBom: Verb = {
  usage: 'FOLDER [--vulnerabilities FOLDER] [--vex FILE]… [--json]',
  async run (words) {
    const args = readArguments(words, { vulnerabilities: { type: 'string' }, vex: { type: 'string', multiple: true } }, ['FOLDER'])
    const directory = args.required('FOLDER')
    const { statement } = await inspectModel(directory)
    const bom = await exists(path.join(directory, bomName)) ? await readSmallFile(directory, bomName, maxBomBytes) : undefined
    const findings = await bomGate({ gate: 'warn', vulnerabilities: args.text('vulnerabilities'), vex: args.texts('vex') }).check(bom, statement)
    print(args, { findings }, findings.length === 0 ? 'nothing was found' : findings.map(({ detail }) => detail).join('\n'))
    return findings.length === 0
  }
}

function counted (count: number | undefined, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}
