// Package httpdoor serves a [sennit.Bus] over HTTP/1.1, on loopback and on a
// unix socket.
//
// Owns: how requests become calls of a Bus and answers, who a request comes
// from, and the protections of a server that shares its machine with a browser.
// Promises: a request that is refused changed nothing. Percent-encoding is
// undone once. What is denied looks like what is absent. No client makes the
// door hold memory or goroutines beyond its limits, or beyond its own stay.
// Must not know: engines, stores, keys, how tokens are kept.
//
// # Paths
//
// A path begins with a root: me, a space's id, or @ and a petname. /a names the
// value, /a/ the subtree. Components are percent-encoded; an encoded slash, an
// empty component, ".", "..", control characters and invalid UTF-8 are refused
// with 400. Parameters that are not listed here are refused too.
//
// "/" is the page, and /_node/ the node's own state, as is /metrics; they are
// mounted. Bodies for /_node/ have at most 1 MiB.
//
// GET /livez answers 200 as long as the process serves, and GET /readyz 200 if
// the node can do all its work, 503 otherwise. Anybody may ask.
//
// # Values
//
//	GET, HEAD /me/a    200 with the bytes, Content-Type, ETag, Version, Author and
//	                   Time; 304 for If-None-Match; 404
//	PUT /me/a          204 with ETag and Version, after the write is durable
//	POST /me/a?add=N   204 with Version: the counter grows by N
//	POST /me/a?append  204 with Version: the stream grows by the body, at most 64 KiB
//	POST /me/a?live    202: the body, at most sennit.MaxMessage, is sent to whoever
//	                   watches the path; ?live=10 says for how many seconds it counts
//	DELETE /me/a       204 with Version: deletes the value, whether or not it is there
//	DELETE /me/a/      204 with Version: deletes the subtree
//
// Version is the value's version in quotes, as Braid has it, and ETag is the
// same. Author is the writer's space and device, and Time the writer's clock
// (RFC 3339). A PUT without Content-Type makes a value without a type, which is
// read as application/octet-stream. Bodies may be chunked, and as large as
// Limits.Value says. Of a value above sennit.MaxInline the answer says what it
// is: "Blob: ROOT SIZE" or "Stream: SIZE". Ranges are served (RFC 9110 section
// 14), with If-Range and If-Match.
//
// A GET or HEAD with "Version: VERSION", quotes and all, gives what the path
// showed at that version, with that version as ETag and Version: 404 if there
// was none such, or it deleted the value, and 410 if it is not held any more. To
// read a counter, or a stream that was deleted, at a version, the node looks
// through all ops that it holds of the space, for one reader at a time.
//
// A GET or HEAD with "Parents: VERSION" asks for what came after a version: 209 with
// a block as subscriptions have it, which has what is there now, or none if that is
// the version. A version that the node hasn't heard of is waited for, 3 s at most;
// then the answer is 309 with Retry-After, and Current-Version for what is there
// (so it is for one that deleted the value). 410 if it is not held any more. Up to 4
// versions may be named. Both Version and Parents get 501, and so does either with a document.
//
// A part of a value that is JSON or text is written with "Content-Range: json
// RANGE" or "Content-Range: text RANGE", several at once with "Patches: N" or
// the type application/http-patches; count=N, and that many times Content-Length,
// Content-Range, an empty line and the content; by PUT or PATCH. Package patch says
// what a range is, such as .names[2:4]. The patches are done together or not at
// all, on what is there now, or on the version that If-Match or Parents names:
// 412 or 409 if it isn't that. 416 if a range names nothing.
//
// "Repr-Digest: sha-256=:BASE64:" in a write says what the value will be, and
// Content-Digest what the body is (RFC 9530; also sha-512). If it is something else
// the answer is 550 and nothing is done. "Want-Repr-Digest: sha-256=1" asks for the
// digest of a value of up to sennit.MaxInline bytes.
//
// A write may have one condition: "If-Match" with the ETag that the value must
// have, or "If-None-Match: *" for one that must not be there yet. If it doesn't
// hold, the answer is 412 and nothing is done. Other conditions are answered
// 501, because to pass over a condition would be to write blindly.
//
// # The merge type aww
//
// With "Merge-Type: aww", or "Version-Type: wallclockish", the versions of a value are
// points in time, as numbers of seconds since 1970: the newer of two is what is
// there, which is how a node decides as well. A PUT with a Version is done if that is
// newer than what is there, and otherwise answered 204 all the same; Version and
// Current-Version say what is there then. One up to 3 s ahead of the node's clock is
// done when it is due, and one further ahead refused (400). A GET with a Version or
// Parents newer than what is there gets 309, and otherwise what is there, or 404. That
// something was deleted is no version: whatever is put then is done. What else is
// written with this merge type gets 501; other merge types, and other version types, 400. Of a counter or stream whose parts come late the
// version may stay as it was.
//
// # Subtrees
//
//	GET, HEAD /me/a/           200: the children
//	GET, HEAD /me/a/?digest    200: the state
//
// The listing has the type application/vnd.sennit.list+json: an array, in order
// of name, of {"name", "value", "dir"}, where value says that the child holds a
// value and dir that it has children. ?after=NAME begins after a name, ?limit=N
// ends after N entries (default 1,000, at most 10,000). With ?depth=N, up to 64, the
// children's children follow each of them, and so on, with names such as a/b. If there is more, Link
// has the next page as rel="next". It is what comes unless the Accept header
// prefers a document; whoever accepts neither gets 406.
//
// The digest has the type application/vnd.sennit.digest+json: {"hash", "ops",
// "cursor"}, the hash in hexadecimal.
//
// # Documents
//
//	GET, HEAD /me/a/   200 with Accept: application/json: all of the subtree as a
//	                   JSON document, with ETag; 304 for If-None-Match; 404
//	PUT /me/a/         204 with Version: makes the subtree that of a document
//	PATCH /me/a/       204 with Version: does a JSON merge patch (RFC 7396)
//
// docs/formats/documents.md says which values a document is made of. An answer
// is of one state, which ETag names by the digest of the subtree, and may be of
// any size. If it can't be finished it breaks off, rather than end.
//
// A PUT has the type application/json, a PATCH that or
// application/merge-patch+json; others get 415, with what is taken in Accept or
// Accept-Patch. The body has at most 4 MiB (of strangers 64 KiB), and a patch
// at most sennit.MaxOps members. What is compared with it, which is all that is
// there or what the patch names, may take 16 MiB (for strangers 256 KiB). What
// differs is written as one commit, and nothing if nothing does; then there is
// no Version. What takes more than one commit (sennit.MaxOps changes,
// sennit.MaxCommit bytes) gets 413, as does what is over the other limits: it
// can be written in parts. Reserved places are in no document; to name one is
// refused.
//
// Parts of a document are written by range as those of a value are, and with
// If-Match.
//
// With "If-Match" and the ETag that a GET gave, a writing is done only if the
// subtree is still in that state, and with "If-None-Match: *" only if nothing is
// there yet; otherwise the answer is 412. Each value that is written or deleted
// is so only if it is still what it was in that state, to the moment of the
// commit. Another value, which the writing leaves alone, may change between the
// comparison and the commit, and keeps that change.
//
// # Commits
//
//	POST /me/          204 with the Version of the last change
//
// The body, of the type application/vnd.sennit.commit, holds up to
// sennit.MaxOps changes, which are done together or not at all. Each looks like
// the request that would do it alone; see parseCommit. Only at the root of a
// space, and all its paths must be under the same root.
//
// # Subscriptions
//
// A GET with "Subscribe: ?1" (or true, or empty) is answered 209 and stays. Its
// body is a sequence of blocks in the framing of Braid: a status line, headers,
// an empty line, a body of Content-Length bytes, a line end.
//
//	HTTP 200 OK
//	Content-Location: /<space id>/notes/a
//	Version: "<log>-<seq>"
//	Author: <space> <device>
//	Time: 2026-02-03T04:05:06.789Z
//	Cursor: 17-4711
//	Content-Type: text/plain
//	Content-Length: 5
//
//	hello
//
// A deletion is a block "HTTP 404 Not Found" without body; if its
// Content-Location ends in a slash, everything at and under the path is gone. A
// value too big for an op has the header Blob, hash and size, and no body.
//
// A subscription of /me/a gets the value, or 404 if there is none, and then
// each later state of it. That first block has "Live: ?1". Any Braid client
// reads this. The answer's headers Repr-Type and Current-Version tell what is
// there; its updates are whole values. Who names the present version in Parents
// isn't sent it again. A subscription with Version is refused.
//
// A subscription of /me/a/ gets the values of the subtree, in order of path,
// then a block "HTTP 200 OK" without Content-Location and with "Live: ?1", then
// changes. Components may be "*": each stands for any one component, and
// /@follows/*/posts/ spans every space that the node follows. Parameters:
//
//	?newest=N      the snapshot has only the N newest values, newest first
//	?tail          every change, in order of arrival; otherwise a reader that
//	               is slow gets only the latest state of each path
//	?exact         only the value at the path, not what is under it
//	?messages      live messages as well, from when the snapshot is complete
//	?also=PATTERN  one pattern more, absolute, a subtree if it ends in a slash,
//	               otherwise one value; up to 63 times
//
// A live message is a block "HTTP 202 Accepted" with Content-Location, Author,
// Time and Content-Type as a value has them, and with Until, when it is void. It
// has no Version and no Cursor: it is part of no state, and who resumes gets
// none that were sent meanwhile. A reader that is slow may lose some.
//
// Cursor says where to go on after the connection broke, with the header
// "Since: <cursor>": everything after it comes, nothing before it, and no
// snapshot. It stands in the Live block and in each last block of a commit, so
// that whoever resumes has seen whole commits. A block "HTTP 205 Reset Content"
// takes back all that was sent: a new snapshot follows. A cursor that the node
// no longer knows is answered with that, or with 410.
//
// "Heartbeats: 20" (seconds, also "20s") asks for a line end whenever nothing
// was sent for so long, at least 1 s and at most 1 h; the answer's Heartbeats
// tells what it came to. Whoever does not ask gets one every [Limits.Idle]. A
// request for a subscription has no body. A reader that takes nothing for [Limits.Write] is cut
// off; it can resume.
//
// # Multiplexing
//
// Browsers open six connections to an origin, so that the answers to many
// subscriptions have to share one: Braid's multiplexing, version 1.0.
//
//	POST /.well-known/multiplexer/M        200, and stays
//	DELETE /.well-known/multiplexer/M/R    200: ends the request R
//
// All have the header "Multiplex-Version: 1.0" and no body. M and R are names that
// the client makes up: 1 to 64 letters, digits, - and _. A subscription with
// "Multiplex-Through: /.well-known/multiplexer/M/R" is answered 293 at once, and
// what would have been its answer, from the status line on, comes in that of M:
//
//	start response R
//	LENGTH bytes for response R
//	...
//	close response R
//
// Empty lines between these are heartbeats. Each request says itself who asks;
// M is nobody's, so that its name should be hard to guess. Refused are a
// multiplexer that there isn't (424 with Bad-Multiplexer; DELETE 404, with that or
// Bad-Request), one that there is (409), and a request that there is (409).
// A reader that doesn't read holds up all that comes through its multiplexer.
//
// # Callers
//
// The owner comes by the unix socket, or with a cookie that a one-time link
// gave to a browser; anybody else comes with a bearer token, or as a stranger
// with what rules give to any. A token that is sent always counts, even where
// the socket or a cookie would do more; one that is of no use gets 401.
//
// There are at most [Limits.Conns] connections to a TCP address; another gets 503. Over
// TCP the Host must be on a list (421), and requests that a browser sends
// for a page of another origin are refused (403), even one on another port of
// this host; only opening "/" by a link is allowed. Cookies know no ports:
// another server on the same host name that the owner's browser visits is sent
// the cookie, as by any browser.
//
// # Pages of other origins
//
// Those of [Config.Origins] may use values, subtrees, subscriptions and multiplexers
// by the rules of CORS, with a token or as strangers, and /livez and /readyz; the
// owner's cookie counts for nothing there. All others are refused, also for what everybody may read.
//
// # Compression
//
// Answers to GET of at least 1,400 bytes are sent with gzip to clients that accept
// it, if their type is one that gains by it; values above sennit.MaxInline are not. The ETag of such an answer ends in
// -gzip; in If-Match and If-None-Match it stands for the version that it begins
// with. Ranges and subscriptions are sent as they are. Bodies of requests must have
// no Content-Encoding (415).
//
// # Errors
//
// A refusal has a body of the type application/problem+json (RFC 9457), with
// the members code (see [sennit.Code]) and hint besides title, status and
// detail, and error where Braid's clients look for one.
package httpdoor
