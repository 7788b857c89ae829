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

const folder = path.join(tmpdir(), `model-guard-vault-${process.getuid?.() ?? 0}-${version}`)
const built = path.join(folder, 'vault')

/**
 * A Vault or an OpenBao that can be run: one on the path, else the one that `buildVault` made.
 * @returns {string | undefined} the program
 */
export function vaultProgram () {
  const there = ['bao', 'vault'].find((name) => spawnSync(name, ['version'], { stdio: 'ignore' }).status === 0)
  return there ?? (existsSync(built) ? built : undefined)
}

/**
 * Builds a Vault from its Go module, outside of the repository, once a machine. It takes ten minutes or more on two cores, and 400 MB. OpenBao cannot be had like
 * this: its releases are no versions that Go takes for its module. Says nothing when it fails: look for the program afterwards.
 */
export function buildVault () {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(path.join(folder, 'go.mod'), modules)
  writeFileSync(path.join(folder, 'main.go'), main)
  const env = { ...process.env, CGO_ENABLED: '0' }
  // -e: what only tests of its own import is not all to be had.
  for (const words of [['mod', 'tidy', '-e'], ['build', '-trimpath', '-ldflags=-s -w', '-o', `${built}.new`, '.']]) {
    spawnSync('go', words, { cwd: folder, env, stdio: 'ignore', timeout: 1_800_000 })
  }
  if (existsSync(`${built}.new`)) renameSync(`${built}.new`, built)
}
