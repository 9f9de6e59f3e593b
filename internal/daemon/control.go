package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/replicate"
)

// maxPending bounds the missing values that a status lists.
const maxPending = 100

// maxControl bounds the body of a request to /_node/.
const maxControl = 64 << 10

// Version is this program's version: the module's, as it was built.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// control serves /_node/: the node's own resources, in JSON, to its owner and
// to tokens with the right "node". For anybody else there is nothing there.
func (d *daemon) control() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(r *http.Request) (status int, answer any, err error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, answer, err := f(r)
			if err != nil {
				d.door.Fail(w, r, err)
				return
			}
			w.Header().Set("Cache-Control", "no-store")
			if answer == nil {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer) // the caller went away
		})
	}
	handle("GET /_node/status", d.status)
	handle("GET /_node/id", d.identity)
	handle("GET /_node/config", d.config)
	handle("GET /_node/follows", d.listFollows)
	handle("PUT /_node/follows/{space}", d.putFollow)
	handle("DELETE /_node/follows/{space}", d.deleteFollow)
	handle("GET /_node/invites", d.listInvites)
	handle("POST /_node/invites", d.addInvite)
	handle("DELETE /_node/invites/{id}", d.deleteInvite)
	handle("POST /_node/join", d.join)
	handle("GET /_node/tokens", d.listTokens)
	handle("POST /_node/tokens", d.addToken)
	handle("DELETE /_node/tokens/{id}", d.deleteToken)
	handle("GET /_node/rules", d.listRules)
	handle("POST /_node/rules", d.addRule)
	handle("POST /_node/revocations", d.revoke)
	handle("GET /_node/saved", d.saved)
	handle("POST /_node/page", d.openPage)
	mux.HandleFunc("POST /_node/qr", d.qrCode)
	mux.HandleFunc("GET /_node/doctor", d.doctor)
	mux.HandleFunc("POST /_node/collect", d.collect)
	mux.HandleFunc("GET "+opsPath, d.getOps)
	mux.HandleFunc("POST "+opsPath, d.pushOps)
	handle("GET /_node/history", d.history)
	handle("GET /_node/overtaken", d.overtaken)
	handle("POST /_node/undo", d.undo)
	handle("GET /_node/du", d.du)
	handle("GET /_node/forks", d.forks)
	mux.Handle("GET /metrics", d.metrics())
	profiles(mux)
	absent := func(r *http.Request) error {
		return sennit.Errorf(sennit.NotFound, "there is no %.20s %.200s", r.Method, r.URL.Path)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { d.door.Fail(w, r, absent(r)) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.tokens().node(r) {
			d.door.Fail(w, r, absent(r))
			return
		}
		if r.URL.Path != opsPath {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		mux.ServeHTTP(w, r)
	})
}

// maxBody bounds the bodies of requests, but for a stream of ops.
const maxBody = 1 << 20

// read reads a request's JSON body into v; no body leaves v as it is. An
// unknown member is an error, so that a misspelt one isn't passed over.
func read(r *http.Request, v any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxControl+1))
	if err != nil {
		return sennit.Errorf(sennit.BadInput, "the request's body was cut off: %w", err)
	}
	if len(body) > maxControl {
		return sennit.Errorf(sennit.TooLarge, "the request's body has more than %d bytes", maxControl)
	}
	if len(body) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err = dec.Decode(v)
	if err == nil && dec.Decode(new(json.RawMessage)) != io.EOF {
		err = errors.New("something follows the JSON value")
	}
	if err != nil {
		return sennit.Errorf(sennit.BadInput, "the request's body makes no sense: %w", err)
	}
	return nil
}

// Status is the answer of GET /_node/status.
type Status struct {
	Version  string    `json:"version"`         // of Sennit
	Space    string    `json:"space"`           // id of the node's space
	Device   string    `json:"device"`          // id of this device
	HTTP     string    `json:"http,omitempty"`  // origin of the HTTP door, if it is on
	Peer     []string  `json:"peer"`            // multiaddrs for peers
	PID      int       `json:"pid"`             // process id
	Since    time.Time `json:"since"`           // when it started
	Note     string    `json:"note,omitempty"`  // what was not as asked for then
	Disk     Usage     `json:"disk"`            // the file system that holds the data directory
	Store    uint64    `json:"store"`           // bytes on disk, without large values
	Spaces   int       `json:"spaces"`          // spaces of which something is here
	Ops      uint64    `json:"ops"`             // live ops in the node's space
	Peers    []Peer    `json:"peers"`           // the nodes that it is connected with
	Blobs    Blobs     `json:"blobs"`           // the large values
	Forks    int       `json:"forks,omitempty"` // devices of others that signed two histories of a log
	Warnings []Finding `json:"warnings"`        // what is wrong, as far as can be seen without a long look
}

// Blobs is the large values that are here, and those that are not.
type Blobs struct {
	Held    uint64    `json:"held"`          // bytes on disk
	Missing int       `json:"missing"`       // values of followed spaces that are not here
	Bytes   uint64    `json:"missing_bytes"` // bytes that those have
	Pending []Pending `json:"pending"`       // the smallest 100 of those
}

// Pending is a large value that is not here.
type Pending struct {
	Space string `json:"space"` // id of the space
	Path  string `json:"path"`  // within the space
	Size  uint64 `json:"size"`  // bytes
	Why   string `json:"why"`   // "over budget", "nobody has it", "damaged by HOST", and so on
}

// Peer is a session with another node.
type Peer struct {
	Host    string    `json:"host"`              // transport key
	Space   string    `json:"space,omitempty"`   // space that it proved to be of
	Addr    string    `json:"addr"`              // where it is
	Since   time.Time `json:"since"`             // when they connected
	Synced  int       `json:"synced"`            // spaces of which both hold the same
	Spaces  int       `json:"spaces"`            // spaces that are replicated with it
	Dropped uint64    `json:"dropped,omitempty"` // live messages that it sent faster than they are taken
}

// Finding is something that is wrong, and what to do about it.
type Finding struct {
	What  string `json:"what"`            // what is wrong
	About string `json:"about,omitempty"` // "disk", "clock", "copy", "forks", "words", "follows" or "data"
	Where string `json:"where,omitempty"` // what it is wrong with
	Do    string `json:"do,omitempty"`    // what to do about it
	Grave bool   `json:"grave,omitempty"` // the node can't do its work
}

func (d *daemon) status(r *http.Request) (int, any, error) {
	usage, err := d.disk.look()
	if err != nil && sennit.CodeOf(err) != sennit.ReadOnly {
		return 0, nil, err
	}
	s := Status{
		Version: Version(), Space: d.ready.Space, Device: d.ready.Device, HTTP: d.ready.HTTP, Note: d.ready.Note,
		Peer: append([]string{}, d.host.Addrs()...), PID: os.Getpid(), Since: d.begun.UTC(), Disk: usage, Store: d.store.DiskUsage(),
		Spaces: len(d.node.Spaces()), Peers: []Peer{}, Forks: d.otherForks(), Warnings: d.warnings(),
	}
	if s.Ops, err = d.held(r.Context(), d.id.Space()); err != nil {
		return 0, nil, err
	}
	missing := d.swarm.Pending(maxPending)
	s.Blobs = Blobs{Held: d.blobs.Usage(), Missing: missing.Blobs, Bytes: missing.Bytes, Pending: []Pending{}}
	for _, p := range missing.Some {
		s.Blobs.Pending = append(s.Blobs.Pending, Pending{p.Space.String(), string(p.Path), p.Blob.Size, p.Why})
	}
	for _, p := range d.rep.Peers() {
		out := Peer{Host: replicate.HostText(p.Host), Addr: p.Addr, Since: p.Since.UTC(), Spaces: len(p.Spaces), Dropped: p.Dropped}
		if !p.Principal.Space.IsZero() {
			out.Space = p.Principal.Space.String()
		}
		for _, sp := range p.Spaces {
			if sp.Synced {
				out.Synced++
			}
		}
		s.Peers = append(s.Peers, out)
	}
	return http.StatusOK, s, nil
}

// copyMatters is for how long it is said that a copy of the data directory was
// in use.
const copyMatters = 7 * 24 * time.Hour

// able is why the node can't do all its work, nil if it can.
func (d *daemon) able() error {
	if err := d.disk.full(); err != nil {
		return err
	}
	return d.ahead()
}

// warnings is what is wrong and costs nothing to know.
func (d *daemon) warnings() []Finding {
	all := []Finding{}
	for _, why := range []struct {
		about string
		err   error
	}{{"disk", d.disk.full()}, {"clock", d.ahead()}} {
		if why.err != nil {
			all = append(all, Finding{What: why.err.Error(), About: why.about, Do: sennit.HintOf(why.err), Grave: true})
		}
	}
	if skew := d.rep.Ahead(); skew.Abs() > time.Minute && skew <= maxAheadClock {
		all = append(all, Finding{What: "this machine's clock differs from most peers' by " + skew.Round(time.Second).String(), About: "clock", Do: "set the clock"})
	}
	older, inUse, err := d.node.Copied()
	if err == nil && time.Since(older) < copyMatters {
		all = append(all, Finding{
			What:  "this data directory was an older copy: at " + older.UTC().Format(time.RFC3339) + " peers had more of what was written with its keys",
			About: "copy",
			Do:    "after a restored backup all is well; if a copy of this data directory is in use elsewhere, stop one of them",
		})
	}
	if err == nil && time.Since(inUse) < copyMatters {
		all = append(all, Finding{
			What:  "a copy of this data directory is in use elsewhere: something was written with its keys at " + inUse.UTC().Format(time.RFC3339) + " that this node did not write",
			About: "copy",
			Do:    "nothing is lost, but stop one of them: a second machine needs a data directory of its own",
		})
	}
	said := ""
	if err == nil && time.Since(inUse) < copyMatters {
		said = d.ready.Device
	}
	all = append(all, ownForks(d.forked(d.node.Spaces()), said, time.Now())...)
	if words, err := d.id.Words(); err == nil && words != "" {
		all = append(all, Finding{What: "the recovery words were not written down yet: if this disk is lost, so is the identity", About: "words", Do: "sennit id words"})
	}
	return all
}

// Identity is the answer of GET /_node/id.
type Identity struct {
	Space   string   `json:"space"`         // id of the space
	Device  string   `json:"device"`        // id of this device
	Devices []Device `json:"devices"`       // all devices of the identity
	Words   bool     `json:"words_pending"` // the recovery words can still be shown
}

// Device is a device of the identity.
type Device struct {
	Device string    `json:"device"` // its id
	Name   string    `json:"name"`   // what its owner calls it
	Added  time.Time `json:"added"`  // when it was added
}

func (d *daemon) identity(*http.Request) (int, any, error) {
	id := Identity{Space: d.ready.Space, Device: d.ready.Device, Devices: []Device{}}
	if state := d.node.Authority(d.id.Space()).Keys(); state != nil {
		for _, e := range state.Devices() {
			id.Devices = append(id.Devices, Device{e.Device.String(), e.Name, time.UnixMilli(int64(e.Added)).UTC()})
		}
	}
	words, err := d.id.Words()
	id.Words = err == nil && words != ""
	return http.StatusOK, id, nil
}
