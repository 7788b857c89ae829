import { verifyLog } from '../audit/verify-log.ts'
import { print, readArguments, type Verb } from './command.ts'
