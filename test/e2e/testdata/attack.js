// attack tries, from whatever page it is run in, what a page can try on a node
// that serves at an origin and with which the browser is signed in. It answers
// what it could read of that, and what didn't end.
async function attack(node, bounce) {
	const learned = [], tried = []
	const attempt = (what, f) => tried.push(Promise.race([
		Promise.resolve().then(f).catch(() => undefined),
		new Promise(done => setTimeout(done, 20000, { text: "it neither fails nor ends" })),
	]).then(got => got && learned.push({ what, ...got })))

	// What a fetch brings, unless it tells nothing.
	const read = async r => {
		if (r.type === "opaque" || r.type === "opaqueredirect") return
		const part = r.body && (await r.body.getReader().read()).value // of a subscription there is no end
		return { status: r.status, text: r.type + " " + new TextDecoder().decode(part) }
	}
	const reads = ["/me/notes/secret", "/me/notes/", "/me/notes/?digest", "/me/nothing", "/", "/_node/status", "/_node/tokens", "/metrics", "/livez"]
	const writes = [
		["PUT", "/me/notes/secret", "text/plain", "owned"],
		["PUT", "/me/notes/", "application/json", `{"secret":"owned"}`],
		["PATCH", "/me/notes/", "application/merge-patch+json", `{"secret":"owned"}`],
		["DELETE", "/me/notes/secret"],
		["DELETE", "/me/notes/"],
		["POST", "/me/polls/pizza?add=1"],
		["POST", "/me/journal?append", "text/plain", "owned"],
		["POST", "/me/notes/secret?live", "text/plain", "owned"],
		["POST", "/me/", "application/vnd.sennit.commit", "DELETE /me/notes/\n\n"],
		["POST", "/me/", "text/plain", "DELETE /me/notes/\n\n"],
		["POST", "/_node/tokens", "application/json", `{"may":["read"]}`],
		["POST", "/_node/invites", "text/plain", `{"uses":9}`],
		["POST", "/_node/page"],
		["POST", "/_node/collect"],
	]
	for (const mode of ["cors", "no-cors"]) {
		const how = { mode, credentials: "include" }
		for (const path of reads)
			for (const headers of [{}, { "Subscribe": "?1" }, { "Authorization": "Bearer guess" }])
				attempt(`fetch ${mode} GET ${path} ${JSON.stringify(headers)}`, async () => read(await fetch(node + path, { ...how, headers })))
		attempt(`fetch ${mode} HEAD`, async () => read(await fetch(node + reads[0], { ...how, method: "HEAD" })))
		for (const [method, path, type, body] of writes) {
			const headers = type ? { "Content-Type": type } : {}, to = node + path
			attempt(`fetch ${mode} ${method} ${path}`, async () => read(await fetch(to, { ...how, method, headers, body })))
			attempt(`fetch ${mode} ${method} ${path} without a referrer`, async () => read(await fetch(to, { ...how, method, headers, body, referrerPolicy: "no-referrer" })))
			attempt(`fetch ${mode} ${method} ${path} by a redirect`, async () => read(await fetch(bounce + encodeURIComponent(to), { ...how, method, headers, body })))
		}
	}
	for (const [method, path, type, body] of writes)
		attempt(`XMLHttpRequest ${method} ${path}`, () => new Promise(done => {
			const r = new XMLHttpRequest()
			r.onloadend = () => done(r.status ? { status: r.status, text: r.responseText } : undefined)
			r.open(method, node + path)
			r.withCredentials = true
			r.send(body)
		}))
	attempt("a beacon", () => { navigator.sendBeacon(node + "/me/polls/pizza?add=1", "") })
	attempt("EventSource", () => new Promise(done => {
		const s = new EventSource(node + "/me/notes/", { withCredentials: true })
		s.onopen = s.onmessage = () => done({ text: "it opens" })
		s.onerror = () => { s.close(); done() }
	}))
	attempt("WebSocket", () => new Promise(done => {
		const s = new WebSocket(node.replace("http", "ws") + "/me/notes/")
		s.onopen = s.onmessage = () => done({ text: "it opens" })
		s.onerror = () => done()
	}))

	// What elements load. Frames and forms tell that there was an answer, not what.
	const element = (name, attributes, done) => {
		const e = Object.assign(document.createElement(name), attributes)
		e.onload = e.onloadeddata = () => done({ text: "it loads" })
		e.onerror = () => done()
		document.body.append(e)
		return e
	}
	const inside = frame => {
		let text
		try { text = frame.contentDocument?.documentElement.textContent } catch { }
		if (text) return { status: (text.match(/"status":(\d+)/) || [])[1] | 0, text }
		if (frame.contentWindow?.length) return { text: "it has frames" }
	}
	for (const path of ["/me/notes/secret", "/me/picture", "/me/script", "/me/style", "/me/nothing", "/"]) {
		for (const name of ["img", "script", "video", "embed"])
			attempt(`${name} of ${path}`, () => new Promise(done => element(name, { src: node + path }, name === "embed" ? () => done() : done)))
		for (const rel of ["stylesheet", "prefetch"])
			attempt(`${rel} of ${path}`, () => new Promise(done => element("link", { rel, href: node + path }, done)))
	}
	// Frames are dear. One way to the node or the other, they come to the same.
	for (const path of ["/me/notes/secret", "/"]) {
		attempt(`iframe of ${path}`, () => new Promise(done => { const f = element("iframe", { src: node + path }, () => done(inside(f))) }))
		attempt(`object of ${path}`, () => new Promise(done => { const f = element("object", { data: node + path }, () => done(inside(f))) }))
	}
	for (const [path, body] of [["/me/polls/pizza?add=1"], ["/me/journal?append", "owned"], ["/_node/invites", `{"uses":9,"x":"`]])
		for (const to of [node + path, bounce + encodeURIComponent(node + path)])
			attempt(`a form to ${to}`, () => new Promise(done => {
				const f = element("iframe", { name: "f" + Math.random() }, () => { })
				f.onload = () => { if (f.sent) done(inside(f)) }
				const form = element("form", { action: to, method: "POST", enctype: "text/plain", target: f.name })
				form.append(Object.assign(document.createElement("input"), { name: body || "a", value: "" }))
				f.sent = true
				form.submit()
			}))
	await Promise.all(tried)
	for (const e of performance.getEntriesByType("resource"))
		if (e.name.startsWith(node + "/") && !node.startsWith(location.origin) && (e.responseStatus || e.decodedBodySize || e.transferSize)) learned.push({ what: "timing of " + e.name, text: JSON.stringify(e) })
	attempt("cookies", () => document.cookie && { text: document.cookie })
	await Promise.all(tried)
	return { tried: tried.length, learned }
}

// visit opens windows at addresses of a node, and tells what it can read of them.
async function visit(node, paths) {
	const learned = []
	for (const path of paths) {
		const w = open(node + path)
		if (!w) {
			learned.push({ what: path, text: "no window opens" })
			continue
		}
		for (const late = Date.now() + 20000; ;) {
			let href = ""
			try { href = w.location.href } catch { break } // it is another origin's now
			if (href.startsWith(node) && w.document.readyState === "complete") {
				learned.push({ what: path, status: (w.document.body.textContent.match(/"status":(\d+)/) || [])[1] | 0, text: w.document.documentElement.textContent })
				break
			}
			if (Date.now() > late) {
				learned.push({ what: path, text: "it doesn't load" })
				break
			}
			await new Promise(done => setTimeout(done, 10))
		}
		w.postMessage({ text: "owned" }, "*")
		if (w.length) learned.push({ what: path, text: "it has frames" })
		w.close()
	}
	return learned
}
