import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

// Of later ones some do not compile outside of their own repository.
const version = 'v1.21.0'

const modules = `module peer

go 1.25.3

require github.com/hashicorp/vault ${version}
`

const main = `package main

import "os"
import "github.com/hashicorp/vault/command"

func main() { os.Exit(command.Run(os.Args[1:])) }
`

/**
 * A Vault or an OpenBao that can be run: the one on the path, else a Vault of this machine, kept outside of the repository, which is built from its Go module
 * once when `FMG_PEERS` is `all`. That takes ten minutes or more on two cores. OpenBao's own module cannot be built like this: its releases have no
 * version that Go would take.
 * @returns {string | undefined} the program
 */
export function vaultProgram () {
  const there = ['bao', 'vault'].find((name) => spawnSync(name, ['version'], { stdio: 'ignore' }).status === 0)
  if (there !== undefined) return there
  const folder = path.join(tmpdir(), `model-guard-vault-${process.getuid?.() ?? 0}-${version}`)
  const program = path.join(folder, 'vault')
  if (existsSync(program)) return program
  return process.env.FMG_PEERS === 'all' && build(folder, program) ? program : undefined
}

/**
 * @param {string} folder
 * @param {string} program
 * @returns {boolean}
 */
function build (folder, program) {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(path.join(folder, 'go.mod'), modules)
  writeFileSync(path.join(folder, 'main.go'), main)
  const env = { ...process.env, CGO_ENABLED: '0' }
  for (const words of [['mod', 'tidy', '-e'], ['build', '-trimpath', '-ldflags=-s -w', '-o', `${program}.new`, '.']]) {
    if (spawnSync('go', words, { cwd: folder, env, stdio: 'ignore', timeout: 1_800_000 }).status !== 0) return false
  }
  renameSync(`${program}.new`, program)
  return true
}
