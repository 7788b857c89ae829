import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import ts from 'typescript'

// Seen from the compiled test, as every path below.
const root = path.join(import.meta.dirname, '..', '..', 'src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts')).sort()

/** Modules this file imports, types and dynamic imports included: own ones as paths below `src`, others by name. */
function importsOf (file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(path.join(root, file), 'utf8'), ts.ScriptTarget.Latest, true)
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    const specifier = ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword ? node.arguments[0] : undefined
    if (specifier !== undefined && ts.isStringLiteral(specifier)) found.push(specifier.text)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) found.push(node.argument.literal.text)
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found.map((name) => name.startsWith('.') ? path.join(path.dirname(file), name) : name)
}

const imports = new Map(files.map((file) => [file, importsOf(file)]))
const isOwn = (name: string): boolean => name.endsWith('.ts')
const folderOf = (file: string): string => path.dirname(file) === '.' ? file : file.split(path.sep)[0] ?? ''

const leaves = ['errors.ts', 'options.ts', 'principal.ts', 'files.ts', 'encoding.ts', 'networks.ts', 'followed-file.ts', 'turns.ts', 'glob.ts', 'scope.ts', 'strict-json.ts', 'bounded-fetch.ts', 'breaker.ts', 'pepper.ts', 'approval.ts', 'yaml-text.ts', 'books']
const pure = ['authn', 'authz', 'limits', 'audit', 'model', 'secrets']
const contracts = ['secrets/key-provider.ts', 'secrets/signer.ts', 'secrets/secret-source.ts']
const namesContracts = [...pure, 'pepper.ts']

/** What a file of this folder may import besides its own folder. */
const allowed: Record<string, readonly string[]> = {
  'errors.ts': [],
  'options.ts': ['errors.ts'],
  'principal.ts': [],
  'encoding.ts': [],
  'networks.ts': [],
  'followed-file.ts': ['turns.ts'],
  'turns.ts': [],
  'glob.ts': [],
  'strict-json.ts': [],
  'bounded-fetch.ts': ['options.ts'],
  'breaker.ts': [],
  'scope.ts': ['glob.ts', 'options.ts'],
  'files.ts': ['errors.ts'],
  'pepper.ts': ['files.ts', 'options.ts'],
  'approval.ts': ['options.ts'],
  'yaml-text.ts': ['errors.ts'],
  books: ['errors.ts', 'options.ts', 'encoding.ts', 'files.ts', 'followed-file.ts', 'turns.ts'],
  ...Object.fromEntries(pure.map((folder) => [folder, leaves])),
  'testing.ts': [...leaves, 'authn'],
  plugins: [...leaves, ...pure],
  server: [...leaves, ...pure, 'plugins'],
  cli: [...leaves, ...pure, 'plugins', 'server'],
  'index.ts': [...leaves, ...pure, 'plugins', 'server']
}

t.test('arrows between folders go down only', async (t) => {
  for (const [file, names] of imports) {
    const folder = folderOf(file)
    const permitted = allowed[folder]
    t.ok(permitted !== undefined, `${folder} has a place in the drawing`)
    for (const name of names.filter(isOwn)) {
      const target = folderOf(name)
      // A barrel names what its readers need; it holds no code.
      t.ok(target === folder || permitted?.includes(target) === true || (namesContracts.includes(folder) && contracts.includes(name)) || (path.basename(file) === 'index.ts' && target === 'secrets'), `${file} imports ${name}`)
    }
  }
})

t.test('there is no cycle, type-only imports included', async (t) => {
  const done = new Set<string>()
  const walk = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) t.fail([...trail.slice(trail.indexOf(file)), file].join(' -> '))
    if (done.has(file) || trail.includes(file)) return
    for (const name of imports.get(file) ?? []) if (isOwn(name)) walk(name, [...trail, file])
    done.add(file)
  }
  for (const file of files) walk(file, [])
  t.equal(done.size, files.length)
})

t.test('nothing inside src imports the package\'s own barrels', async (t) => {
  const barrels = files.filter((file) => path.basename(file) === 'index.ts')
  for (const [file, names] of imports) {
    t.notOk(names.some((name) => barrels.includes(name)), file)
  }
})

t.test('Fastify is imported by plugins and server alone, errors excepted', async (t) => {
  const other = (file: string): boolean => !['plugins', 'server', 'cli'].includes(folderOf(file))
  for (const [file, names] of imports) {
    const fastify = names.filter((name) => /^(@fastify\/|fastify)/.test(name))
    if (other(file)) t.same(fastify, file === 'errors.ts' ? ['@fastify/error'] : [], file)
  }
})

t.test('heavy and optional packages are imported dynamically, where they are used', async (t) => {
  for (const file of files) {
    const text = readFileSync(path.join(root, file), 'utf8')
    t.notMatch(text, /^import (?!type).* from '(ioredis|onnxruntime-node|@fastify\/oauth2|@sigstore\/.*)'/m, file)
  }
})
