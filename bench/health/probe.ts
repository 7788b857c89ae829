// Asks a URL at a fixed rate, whatever becomes of the answers, and prints how many milliseconds each took.
// Arguments: URL, requests a second, seconds, the status of every answer. What is refused is asked from many addresses, or the limit by address would answer.
import { Agent, get } from 'node:http'
import { setTimeout } from 'node:timers/promises'

const [url = '', rate = '', seconds = '', status = ''] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true })
const addresses = status === '200' ? ['127.0.0.1'] : Array.from({ length: 200 }, (_, index) => `127.0.1.${index + 1}`)

/** From the moment of sending: when a timer of this process is late, the server is not to blame. */
function ask (localAddress: string | undefined): Promise<number> {
  const sent = performance.now()
  return new Promise((resolve, reject) => {
    get(url, { agent, localAddress }, (response) => {
      response.resume().once('end', () => { resolve(performance.now() - sent) })
      if (String(response.statusCode) !== status) reject(new Error(`status ${response.statusCode ?? 0}`))
    }).once('error', reject)
  })
}

const answers: Promise<number>[] = []
const start = performance.now()
for (let count = 0; count < Number(rate) * Number(seconds); count++) {
  await setTimeout(Math.max(0, start + count * 1000 / Number(rate) - performance.now()))
  answers.push(ask(addresses[count % addresses.length]))
}
console.log(JSON.stringify(await Promise.all(answers)))
agent.destroy()
