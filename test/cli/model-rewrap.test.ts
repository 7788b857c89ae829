import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { UsageError } from '../../src/cli/command.ts'
import { modelRewrap } from '../../src/cli/model-rewrap.ts'
import { createWrappingKey } from '../../src/secrets/create-keys.ts'
import { keyFromFile } from '../../src/secrets/key-file.ts'
import { sealedModel } from '../helpers/sealed-models.ts'

t.test('bundles get other recipients: all at once, or some more and some fewer', async (t) => {
  const folder = t.testdir({ empty: {} })
  const at = (name: string): string => path.join(folder, name)
  const [a, b, c] = [at('a.json'), at('b.json'), at('c.json')]
  for (const name of ['a', 'b', 'c']) await createWrappingKey(at(`${name}.json`), name)
  await mkdir(at('models'))
  for (const name of ['one', 'two']) await sealedModel(path.join(at('models'), name), [await keyFromFile(a)])
  const printed = t.capture(console, 'log')
  const complained = t.capture(console, 'error')
  const rewrap = async (...words: string[]): Promise<{ holds: boolean, stdout: string, stderr: string }> => {
    const holds = await modelRewrap.run([at('models'), ...words])
    return { holds, stdout: printed().map(({ args }) => String(args)).join('\n'), stderr: complained().map(({ args }) => String(args)).join('\n') }
  }

  t.same(await rewrap('--key', a, '--recipient', b), { holds: true, stdout: '2 of 2 bundles rewrapped', stderr: '' })
  t.same(await rewrap('--key', a, '--recipient', c), {
    holds: false,
    stdout: '0 of 2 bundles rewrapped; 2 failed and are as they were',
    stderr: ['one', 'two'].map((name) => `${path.join(at('models'), name)}: FMG_ERR_BUNDLE_INVALID: bundle invalid: its data key is for none of the configured keys`).join('\n')
  })
  t.match(JSON.parse((await rewrap('--key', a, '--recipient', c, '--json')).stdout), { total: 2, failures: [{ error: /^FMG_ERR_BUNDLE_INVALID/ }, {}] })
  t.match(await rewrap('--key', b, '--add', c, '--parallel', '2', '--json'), { holds: true, stdout: '{"total":2,"changed":2,"unchanged":0,"failures":[],"absent":[]}' })
  t.match(await rewrap('--key', b, '--add', c, '--remove', 'mistyped'), { holds: true, stdout: '0 of 2 bundles rewrapped; 2 had these recipients already; none was sealed for mistyped' })
  t.match(await rewrap('--key', b, '--add', c, '--anew'), { holds: true, stdout: '2 of 2 bundles rewrapped' })
  t.match(await rewrap('--key', c, '--remove', 'b'), { holds: true, stdout: '2 of 2 bundles rewrapped' })

  for (const words of [[], ['--key', b], ['--recipient', c], ['--key', b, '--recipient', c, '--add', c], ['--key', b, '--recipient', c, '--remove', 'b'], ['--key', b, '--recipient', c, '--parallel', 'x']]) {
    t.ok(await rewrap(...words).catch((error: unknown) => error) instanceof UsageError, words.join(' '))
  }
  await t.rejects(modelRewrap.run([at('empty'), '--key', c, '--recipient', a]), { code: 'FMG_ERR_FILE' })
})
