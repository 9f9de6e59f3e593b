// What is measured of Hypercore. Each way to call it prints one line of JSON.
//
//   puts DIR WRITERS WARM SECONDS MIN MAX    appends values, and reads back the last
//   serve DIR VALUES MIN MAX                 fills a core, and serves it
//   follow DIR PORT KEY VALUES               takes a core from there
import {randomBytes} from 'node:crypto'
import {connect, createServer} from 'node:net'
import Hypercore from 'hypercore'

const [what, dir, ...args] = process.argv.slice(2)
const tell = (value) => console.log(JSON.stringify(value))
const pool = randomBytes(1 << 20)

function value(min, max) {
	const size = min + Math.floor(Math.random() * (max - min + 1))
	const at = Math.floor(Math.random() * (pool.length - size))
	return pool.subarray(at, at + size)
}

async function puts(writers, warm, seconds, min, max) {
	const core = new Hypercore(dir)
	await core.ready()
	const took = []
	const from = performance.now() + 1000 * warm
	const to = from + 1000 * seconds
	const write = async () => {
		for (let begin = performance.now(); begin < to;) {
			const block = value(min, max)
			const {length} = await core.append(block)
			const end = performance.now()
			if (end >= from && end < to) took.push(end - begin)
			if (end >= to && !(await core.get(length - 1)).equals(block)) throw new Error(`block ${length - 1} isn't what was appended`)
			begin = end
		}
	}
	await Promise.all(Array.from({length: writers}, write))
	took.sort((a, b) => a - b)
	const at = (part) => 1000 * (took[Math.floor(took.length * part)] ?? 0)
	tell({count: took.length, p50: at(0.5), p99: at(0.99)})
	await core.close()
}

async function serve(values, min, max) {
	const core = new Hypercore(dir)
	await core.ready()
	for (let i = 0; i < values; i += 1000) await core.append(Array.from({length: Math.min(1000, values - i)}, () => value(min, max)))
	const server = createServer((socket) => {
		const stream = core.replicate(false)
		for (const one of [socket, stream]) one.on('error', () => {}) // the follower leaves when it has all
		socket.pipe(stream).pipe(socket)
	})
	server.listen(0, '127.0.0.1', () => tell({port: server.address().port, key: core.key.toString('hex')}))
}

async function follow(port, key, values) {
	const core = new Hypercore(dir, Buffer.from(key, 'hex'))
	await core.ready()
	const begin = performance.now()
	const socket = connect(port, '127.0.0.1')
	const stream = core.replicate(true)
	socket.pipe(stream).pipe(socket)
	await core.update({wait: true})
	await core.download({start: 0, end: values}).done()
	tell({seconds: (performance.now() - begin) / 1000, bytes: socket.bytesRead + socket.bytesWritten, values: core.contiguousLength})
	process.exit()
}

if (what === 'puts') await puts(...args.map(Number))
else if (what === 'serve') await serve(...args.map(Number))
else await follow(Number(args[0]), args[1], Number(args[2]))
