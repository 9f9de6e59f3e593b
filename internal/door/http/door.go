package httpdoor

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sennit/sennit"
)

// Config is what a door is made of.
type Config struct {
	// Bus gives the bus as one caller sees it. It is asked for each request,
	// so it should be cheap. Required.
	Bus func(Caller) sennit.Bus

	// Tokens knows the bearer tokens. Without it every token is refused.
	Tokens Tokens

	// Node serves /_node/, after authentication and as it is; [CallerOf]
	// tells who asks. It bounds the bodies that it reads. Whom it answers is its own business. May be nil.
	Node http.Handler

	// Page serves "/". It must serve the same to everybody: whoever opens the
	// page is only later known by a cookie or a token. May be nil.
	Page http.Handler

	// Ready is why the node can't do all its work, nil if it can. Anybody may ask,
	// at /readyz, and learns no more than whether. May be nil.
	Ready func() error

	// Hosts are the names by which TCP clients may call this door: "name" or
	// "name:port", in lower case, IPv6 addresses in brackets. Without a port
	// any port will do. Default: localhost, 127.0.0.1 and [::1].
	Hosts []string

	// Origins are those of other sites whose pages may use this door, with a token
	// or as strangers: "https://app.example". Default: none.
	Origins []string

	// Secret makes the cookies of browser sessions. With the same secret they
	// survive a restart; when it changes, all sessions end. Default: random.
	Secret [32]byte

	Limits Limits

	// Log gets what callers should not see: the details of internal errors.
	// Default: nothing is logged.
	Log *slog.Logger
}

// Limits bound what a client can make the door do. Zero means the default.
type Limits struct {
	Header     int           // bytes of a request's line and headers; default 32 KiB, and 431 beyond
	Value      int64         // bytes of a value; default 1 TiB, and 413 beyond
	Queue      int           // bytes that may wait for one subscriber; default that of the Bus
	ReadHeader time.Duration // for a request's line and headers to arrive; default 10 s
	Read       time.Duration // for a whole request to arrive, or the next bytes of a large value; default 60 s
	Write      time.Duration // for one answer, the next bytes of a large one, or one write to a subscriber, to leave; default 60 s
	Idle       time.Duration // between two requests on a connection, and between two writes to a subscriber who asked for no heartbeats; default 2 min
	Drain      time.Duration // for requests under way when serving ends; default 5 s
	Conns      int           // on one TCP listener; default 16,384, or half of the descriptors that the process may have if that is less; 503 beyond
	Key        time.Duration // for which a one-time key can be used; default 1 h
	Session    time.Duration // for which a browser stays signed in; default 30 days
}

// Door is the handler. Make one with [New]; all its methods are safe for
// concurrent use.
type Door struct {
	cfg          Config
	hosts        map[string]bool
	origins      http.CrossOriginProtection
	foreigners   map[string]bool // origins of others that may ask; nil: none
	compress     func(http.Handler) http.HandlerFunc
	sessions     sessions
	encoders     encoders
	stats        stats
	multiplexers multiplexers
	fixed        fixed
	author       atomic.Pointer[author] // the newest: mostly the next one too
}

// fixed holds the values of headers that are in every answer, made once.
// net/http reads them and changes nothing.
type fixed struct{ nosniff, sameOrigin, cache, policy []string }

// author is the text of a principal.
type author struct {
	who  sennit.Principal
	text []string
}

// authorOf is the value of the Author header, nil if nobody is named.
func (d *Door) authorOf(p sennit.Principal) []string {
	if p == (sennit.Principal{}) {
		return nil
	}
	a := d.author.Load()
	if a == nil || a.who != p {
		a = &author{p, []string{string(appendAuthor(nil, p))}}
		d.author.Store(a)
	}
	return a.text
}

// New checks a configuration and makes a door.
func New(cfg Config) (*Door, error) {
	if cfg.Bus == nil {
		return nil, sennit.Errorf(sennit.BadInput, "a door needs a bus")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{"localhost", "127.0.0.1", "[::1]"}
	}
	l := &cfg.Limits
	for _, n := range []int64{int64(l.Conns), int64(l.Header), l.Value, int64(l.Queue), int64(l.ReadHeader), int64(l.Read), int64(l.Write), int64(l.Idle), int64(l.Drain), int64(l.Key), int64(l.Session)} {
		if n < 0 {
			return nil, sennit.Errorf(sennit.BadInput, "a limit of the HTTP door is negative: %d", n)
		}
	}
	defaults(&l.Conns, min(16<<10, descriptors()/2))
	defaults(&l.Header, 32<<10)
	defaults(&l.Value, 1<<40)
	defaults(&l.ReadHeader, 10*time.Second)
	defaults(&l.Read, time.Minute)
	defaults(&l.Write, time.Minute)
	defaults(&l.Idle, 2*time.Minute)
	defaults(&l.Drain, 5*time.Second)
	defaults(&l.Key, time.Hour)
	defaults(&l.Session, 30*24*time.Hour)
	if cfg.Secret == [32]byte{} {
		rand.Read(cfg.Secret[:]) // never fails
	}
	d := &Door{cfg: cfg, hosts: map[string]bool{}}
	for _, o := range cfg.Origins {
		if err := ParseOrigin(o); err != nil {
			return nil, err
		}
		if d.foreigners == nil {
			d.foreigners = map[string]bool{}
		}
		d.foreigners[o] = true
	}
	var err error
	if d.compress, err = newCompressor(); err != nil {
		return nil, sennit.Errorf(sennit.Internal, "compress answers: %w", err)
	}
	for _, h := range cfg.Hosts {
		if h == "" || h != strings.ToLower(h) || strings.ContainsAny(h, "/ ") {
			return nil, sennit.Errorf(sennit.BadInput, "%q is not a host name in lower case", h)
		}
		d.hosts[h] = true
	}
	d.sessions.init(cfg.Secret, l.Key, l.Session)
	d.fixed = fixed{
		nosniff: []string{"nosniff"}, sameOrigin: []string{"same-origin"}, cache: []string{"private, no-cache"},
		// Somebody else may have written a value. Opened as a page it must not
		// act in this origin.
		policy: []string{"default-src 'none'; frame-ancestors 'none'; sandbox"},
	}
	return d, nil
}

func defaults[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// ServeHTTP serves one request: protections, authentication, then the thing
// that the path names.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What others wrote is served from the origin where the owner's page
	// lives. So nothing here is sniffed, or embedded from elsewhere.
	h := w.Header()
	h["X-Content-Type-Options"] = d.fixed.nosniff
	h["Cross-Origin-Resource-Policy"] = d.fixed.sameOrigin
	d.stats.request(r.Method)

	if d.share(w, r) {
		return
	}
	if err := d.admit(r); err != nil {
		d.fail(w, r, Caller{}, err)
		return
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil {
		d.fail(w, r, Caller{}, err)
		return
	}
	c, err := d.authenticate(r)
	if err != nil {
		d.fail(w, r, c, err)
		return
	}
	switch {
	case d.foreign(r) != "" && (t.front || t.metrics || t.pattern.Root == "_node"):
		d.fail(w, r, c, sennit.Errorf(sennit.Denied, "pages of other origins have the tree, and nothing else"))
	case t.front:
		d.front(w, r, c)
	case t.health != "":
		d.health(w, r, c, t.health)
	case t.multiplex != "":
		d.multiplex(w, r, c, t)
	case t.metrics:
		d.node(w, r, c)
	case t.pattern.Root == "_node":
		d.node(w, r, c)
	default:
		d.tree(w, r, c, t)
	}
}

// admit turns away requests that a web page of another origin made the
// owner's browser send, and those that came here under another name, which is
// how such a page reads the answers (DNS rebinding).
func (d *Door) admit(r *http.Request) error {
	if _, socket := r.Context().Value(socketKey{}).(peer); socket {
		return nil // no browser gets there, and the name means nothing
	}
	host := strings.ToLower(r.Host)
	if !d.hosts[host] {
		name, _, err := net.SplitHostPort(host)
		if err == nil && strings.Contains(name, ":") {
			name = "[" + name + "]"
		}
		if err != nil || !d.hosts[name] {
			return status(http.StatusMisdirectedRequest, sennit.Hint(
				sennit.Errorf(sennit.Denied, "this node is not called %.100q", r.Host),
				"call it by the address that it printed when it started"))
		}
	}
	if d.foreign(r) != "" {
		return nil
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		// Also "same-site": another port of this host is another program.
		navigates := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
		if r.Method != http.MethodGet || r.URL.Path != "/" || !navigates {
			return sennit.Errorf(sennit.Denied, "requests from other sites are refused")
		}
	}
	if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host && o != "https://"+r.Host {
		return sennit.Errorf(sennit.Denied, "requests from the origin %.100q are refused", o)
	}
	if err := d.origins.Check(r); err != nil {
		return sennit.Errorf(sennit.Denied, "the request is refused: %v", err)
	}
	return nil
}

// front serves "/": the page, and the link that signs the owner's browser in.
func (d *Door) front(w http.ResponseWriter, r *http.Request, c Caller) {
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("Referrer-Policy", "no-referrer")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		d.refuse(w, r, c, "GET, HEAD")
	case r.URL.Query().Has("key"):
		d.signIn(w, r)
	case d.cfg.Page == nil:
		d.fail(w, r, c, sennit.Errorf(sennit.NotFound, "this node has no page"))
	default:
		d.cfg.Page.ServeHTTP(w, withCaller(r, c))
	}
}

// health answers whether the node lives, and whether it can do all its work, in
// a word: whoever restarts it, or sends requests to it, need not be its owner.
func (d *Door) health(w http.ResponseWriter, r *http.Request, c Caller, what string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		d.refuse(w, r, c, "GET, HEAD")
		return
	}
	if what == readyz && d.cfg.Ready != nil {
		if err := d.cfg.Ready(); err != nil {
			if !c.Owner() {
				err = sennit.Errorf(sennit.CodeOf(err), "the node can't do all its work")
			}
			d.fail(w, r, c, status(http.StatusServiceUnavailable, err))
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok\n") // of a HEAD nothing is sent
}

func (d *Door) node(w http.ResponseWriter, r *http.Request, c Caller) {
	if d.cfg.Node == nil {
		d.fail(w, r, c, sennit.Errorf(sennit.NotFound, "this node has no state of its own to show"))
		return
	}
	d.cfg.Node.ServeHTTP(w, withCaller(r, c))
}

// tree serves values and subtrees.
func (d *Door) tree(w http.ResponseWriter, r *http.Request, c Caller, t target) {
	var allow string
	switch root := t.addr.Path == ""; {
	case !t.slash:
		allow = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
	case root:
		allow = "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
	default:
		allow = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
	}
	var do func(http.ResponseWriter, *http.Request, Caller, target) error
	switch m := r.Method; {
	case m == http.MethodOptions:
		w.Header().Set("Allow", allow)
		h := w.Header()
		if h.Set("Accept-Patch", patchesType); t.slash {
			h.Set("Accept-Patch", acceptPatch+", "+patchesType)
		}
		h.Set("Range-Request-Allow-Methods", "PATCH, PUT")
		h.Set("Range-Request-Allow-Units", "json, text")
		w.WriteHeader(http.StatusNoContent)
		return
	case !allows(allow, m):
		d.refuse(w, r, c, allow)
		return
	case m == http.MethodGet && subscribes(r.Header):
		do = d.through
	case t.wild:
		d.fail(w, r, c, sennit.Errorf(sennit.BadInput, `"*" stands for any component, which only a subscription understands`))
		return
	case (m == http.MethodPut || m == http.MethodPatch) && ranges(r.Header):
		do = d.patchValue
	case m == http.MethodPatch && !t.slash:
		w.Header().Set("Accept-Patch", patchesType)
		d.fail(w, r, c, status(http.StatusUnsupportedMediaType, sennit.Hint(sennit.Errorf(sennit.Unsupported, "a patch of a value says with Content-Range or Patches which parts it is for"),
			"such as Content-Range: json .name")))
		return
	case m == http.MethodPatch || m == http.MethodPut && t.slash:
		do = d.putDocument
	case m == http.MethodPut:
		do = d.put
	case m == http.MethodDelete:
		do = d.remove
	case m == http.MethodPost && t.slash:
		do = d.commit
	case m == http.MethodPost:
		do = d.post
	case t.slash:
		do = d.list
	default:
		do = d.get
	}
	if err := d.merges(r, t); err != nil {
		d.fail(w, r, c, err)
		return
	}
	if compressible(r) {
		d.compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := do(w, r, c, t); err != nil {
				d.fail(w, r, c, err)
			}
		}))(w, r)
		return
	}
	if err := do(w, r, c, t); err != nil {
		d.fail(w, r, c, err)
	}
}

func allows(allow, method string) bool {
	for m := range strings.SplitSeq(allow, ", ") {
		if m == method {
			return true
		}
	}
	return false
}

// withCaller hands a caller on to a mounted handler.
func withCaller(r *http.Request, c Caller) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
}
