// The real Braid client against a node: node braid.mjs ORIGIN TOKEN.
// Ends with "N passed, N failed".
import { fetch } from 'braid-http'

const [origin, token] = process.argv.slice(2)
const headers = { authorization: `Bearer ${token}` }
let passed = 0, failed = 0

function check(what, got, want) {
    if (JSON.stringify(got) === JSON.stringify(want)) passed++
    else {
        failed++
        console.log(`FAIL ${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
    }
}

async function put(path, body, type = 'text/plain') {
    const res = await fetch(origin + path, { method: 'PUT', body, headers: { ...headers, 'content-type': type } })
    check(`PUT ${path}`, res.status, 204)
    return JSON.parse(`[${res.headers.get('version')}]`)
}

async function subscribe(path, params = {}) {
    const aborter = new AbortController()
    const res = await fetch(origin + path, { subscribe: true, signal: aborter.signal, ...params, headers: { ...headers, ...params.headers } })
    check(`status of ${path}`, res.status, 209)
    const updates = res.subscription[Symbol.asyncIterator]()
    return { res, aborter, next: async () => (await updates.next()).value }
}

// One value.
{
    const s = await subscribe('/me/doc')
    check('the type of the stream', s.res.headers.get('content-type'), 'application/http-history')
    check('nothing there', String((await s.next()).status), '404')
    const v1 = await put('/me/doc', 'hello ü\r\n\r\nHTTP 200 OK\r\n')
    let u = await s.next()
    check('the text', u.body_text, 'hello ü\r\n\r\nHTTP 200 OK\r\n')
    check('the version', u.version, v1)
    check('the status', String(u.status), '200')
    check('the media type', u.extra_headers['content-type'] ?? u.content_type, 'text/plain')
    await put('/me/doc', '')
    check('an empty text', (await s.next()).body_text, '')
    const bytes = new Uint8Array(65536).map((_, i) => i * 7)
    await put('/me/doc', bytes, 'application/octet-stream')
    check('bytes', Buffer.from((await s.next()).body).equals(Buffer.from(bytes)), true)
    for (let i = 0; i < 100; i++) await put('/me/doc', `number ${i}`)
    for (let i = 0, last = -1; last < 99; i++) {
        const n = parseInt((await s.next()).body_text.slice(7))
        check('later states come later', n > last, true)
        last = n
    }
    const res = await fetch(origin + '/me/doc', { method: 'DELETE', headers })
    check('DELETE', res.status, 204)
    check('gone', String((await s.next()).status), '404')
    s.aborter.abort()
}

// What is there comes at once; heartbeats keep the connection alive.
{
    const v = await put('/me/doc', 'again')
    let seen = 0, beat
    const heard = new Promise(done => { beat = done })
    const s = await subscribe('/me/doc', {
        heartbeats: 1, peer: 'peer-1', parents: ['old-1', 'older-2'],
        onBytes: b => { if (Buffer.from(b).toString() === '\r\n' && ++seen === 2) beat() },
    })
    check('heartbeats', s.res.headers.get('heartbeats'), '1s')
    check('the current version', s.res.headers.get('current-version'), JSON.stringify(v[0]))
    check('the type', s.res.headers.get('repr-type'), 'text/plain')
    check('the snapshot', (await s.next()).body_text, 'again')
    await heard
    check('heartbeats came', seen, 2)
    s.aborter.abort()
}

// Who has the present version isn't sent it again.
{
    const v = await put('/me/doc', 'again')
    const s = await subscribe('/me/doc', { parents: v })
    check('the current version', s.res.headers.get('current-version'), JSON.stringify(v[0]))
    await put('/me/doc', 'more')
    check('what came after it', (await s.next()).body_text, 'more')
    await put('/me/doc', 'again')
    s.aborter.abort()
}

// Parts of a value, one and several, as the client writes them.
{
    await put('/me/json', '{"a":{"b":[1,2,3]}}', 'application/json')
    const s = await subscribe('/me/json')
    await s.next()
    const patch = async (patches, status = 204) => {
        const res = await fetch(origin + '/me/json', { method: 'PUT', patches, headers, version: ['somebody-1'] })
        check(`patches ${JSON.stringify(patches)}`, res.status, status)
    }
    await patch({ unit: 'json', range: '.a.b[1:2]', content: '[7,8]' })
    check('one patch', (await s.next()).body_text, '{"a":{"b":[1,7,8,3]}}')
    await patch([{ unit: 'json', range: '.a.b[-0:-0]', content: '["ü"]' }, { unit: 'json', range: '.c', content: 'true' }])
    check('two patches', (await s.next()).body_text, '{"a":{"b":[1,7,8,3,"ü"]},"c":true}')
    await patch({ unit: 'json', range: '.nowhere.x', content: '1' }, 416)
    s.aborter.abort()
}

// A subtree, by the same parser.
{
    await put('/me/tree/a', 'A')
    const s = await subscribe('/me/tree/')
    const path = u => u.extra_headers['content-location']?.split('/').slice(2).join('/')
    let u = await s.next()
    check('the snapshot', [path(u), u.body_text], ['tree/a', 'A'])
    u = await s.next()
    check('live', [u.extra_headers.live, path(u), typeof u.extra_headers.cursor], ['?1', undefined, 'string'])
    const v = await put('/me/tree/b%20%C3%BC', 'B')
    u = await s.next()
    check('a change', [path(u), u.body_text, u.version], ['tree/b%20%C3%BC', 'B', v])
    const cursor = u.extra_headers.cursor
    await put('/me/tree/c', 'C')
    await s.next()
    s.aborter.abort()
    const again = await subscribe('/me/tree/', { headers: { since: cursor } })
    u = await again.next()
    check('resumed', [path(u), u.body_text], ['tree/c', 'C'])
    await fetch(origin + '/me/tree/', { method: 'DELETE', headers })
    u = await again.next()
    check('all gone', [path(u), String(u.status)], ['tree/', '404'])
    again.aborter.abort()
}

// Several subscriptions through one connection.
{
    const all = []
    for (let i = 0; i < 10; i++) {
        await put(`/me/many/${i}`, `first ${i}`)
        all.push(await subscribe(`/me/many/${i}`, { multiplex: true }))
        check('it goes through a multiplexer', typeof all[i].res.multiplexed_through, 'string')
        check('its type', all[i].res.headers.get('content-type'), 'application/http-history')
        check('the snapshot', (await all[i].next()).body_text, `first ${i}`)
    }
    all[3].aborter.abort()
    for (let i = 0; i < 10; i++) await put(`/me/many/${i}`, `second ${i}`)
    for (let i = 0; i < 10; i++) if (i != 3) check('a change', (await all[i].next()).body_text, `second ${i}`)
    const again = await subscribe('/me/many/3', { multiplex: true })
    check('one that ended, again', (await again.next()).body_text, 'second 3')
    for (const s of [...all, again]) s.aborter.abort()
}

// Refusals are answers like any other.
{
    const res = await fetch(origin + '/me/doc', { subscribe: true, version: ['1'], headers })
    check('subscribe and version', res.status, 400)
    check('the reason', (await res.json()).code, 'bad-input')
}

console.log(`${passed} passed, ${failed} failed`)
process.exit(failed ? 1 : 0)
