import { readFile } from 'node:fs/promises'
import { loadPolicy } from '../authz/policy-file.ts'
import { guardError } from '../errors.ts'
import { print, readArguments, type Verb } from './command.ts'
