// A plain Braid server: values in memory, appended to a file when they are put
// (and not synced), and subscriptions. The directory is its only argument.
import {openSync, writeSync} from 'node:fs'
import {createServer} from 'node:http'
import {join} from 'node:path'
import {http_server as braidify} from 'braid-http'

const log = openSync(join(process.argv[2], 'log'), 'a')
const values = new Map() // by path: {version, type, body}
const crowds = new Map() // by path: the answers to those who subscribe
let count = 0

function get(req, res) {
	const value = values.get(req.url)
	if (req.subscribe) {
		const crowd = crowds.get(req.url) ?? new Set()
		crowds.set(req.url, crowd.add(res))
		res.startSubscription({onClose: () => crowd.delete(res)})
		res.sendUpdate(value ?? {version: ['0'], body: ''})
		return
	}
	if (!value) {
		res.writeHead(404, {'Content-Length': 0}).end()
		return
	}
	res.writeHead(200, {'Version': JSON.stringify(value.version[0]), 'Content-Type': value['Content-Type'], 'Content-Length': value.body.length})
	res.end(value.body)
}

async function put(req, res) {
	const {body} = await req.parseUpdate()
	const value = {version: [`bench-${++count}`], 'Content-Type': req.headers['content-type'], body: Buffer.from(body)}
	writeSync(log, `${req.url} ${value.version[0]} ${value.body.length}\n`)
	writeSync(log, value.body)
	values.set(req.url, value)
	for (const one of crowds.get(req.url) ?? []) one.sendUpdate(value)
	res.writeHead(200, {'Version': JSON.stringify(value.version[0]), 'Content-Length': 0}).end()
}

const server = createServer(braidify((req, res) => req.method === 'PUT' ? put(req, res) : get(req, res)))
server.keepAliveTimeout = 0
server.listen({host: '127.0.0.1', port: 0, backlog: 1024}, () => console.log(JSON.stringify({port: server.address().port})))
