// Asks a URL at a fixed rate, whatever becomes of the answers, and prints how many milliseconds each took.
// Arguments: URL, requests a second, seconds.
import { Agent, get } from 'node:http'
import { setTimeout } from 'node:timers/promises'

const [url = '', rate = '', seconds = ''] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true })

/** From the moment of sending: when a timer of this process is late, the server is not to blame. */
function ask (): Promise<number> {
  const sent = performance.now()
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      response.resume().once('end', () => { resolve(performance.now() - sent) })
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode ?? 0}`))
    }).once('error', reject)
  })
}

const answers: Promise<number>[] = []
const start = performance.now()
for (let count = 0; count < Number(rate) * Number(seconds); count++) {
  await setTimeout(Math.max(0, start + count * 1000 / Number(rate) - performance.now()))
  answers.push(ask())
}
console.log(JSON.stringify(await Promise.all(answers)))
agent.destroy()
