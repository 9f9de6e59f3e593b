package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, driven over a pipe by the Chrome DevTools
// Protocol: JSON messages that end in a zero byte. It is all of the protocol
// that these tests need.
type browser struct {
	t     testing.TB
	to    *os.File
	nodes []*node // whose pages are open

	mu       sync.Mutex // guards what follows
	last     int
	waiting  map[int]chan reply
	dead     error
	wrong    []string // what the console of a page should not have
	requests []string // URLs
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Method string          `json:"method"` // of an event
	Params json.RawMessage `json:"params"`
}

// browse starts a browser. Without one on the machine the test fails: what is
// not looked at is not known to work.
func browse(t testing.TB, flags ...string) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil && path == "" {
			path = p
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium; run: make deps")
	}
	profile, err := os.MkdirTemp("", "sennit-browser-")
	if err != nil {
		t.Fatal(err)
	}
	from, theirs := pipe(t)
	commands, to := pipe(t)
	var said bytes.Buffer
	cmd := exec.Command(path, append(flags, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-quic", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")...)
	cmd.ExtraFiles = []*os.File{commands, theirs} // the browser's descriptors 3 and 4
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	theirs.Close()
	b := &browser{t: t, to: to, waiting: map[int]chan reply{}}
	var reading sync.WaitGroup
	reading.Go(func() { b.listen(from) })
	t.Cleanup(func() {
		b.to.Close() // its end of the pipe is the browser's end
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		late.Stop()
		reading.Wait()
		os.RemoveAll(profile)
		if t.Failed() {
			t.Logf("what the browser said:\n%s", &said)
		}
	})
	return b
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// listen gives answers to those who wait for them, and notes events.
func (b *browser) listen(from *os.File) {
	defer from.Close()
	in := bufio.NewReader(from)
	for {
		msg, err := in.ReadBytes(0)
		var r reply
		if err == nil {
			err = json.Unmarshal(msg[:len(msg)-1], &r)
		}
		b.mu.Lock()
		if err != nil {
			b.dead = err
			for _, w := range b.waiting {
				close(w)
			}
			b.mu.Unlock()
			return
		}
		if w := b.waiting[r.ID]; w != nil {
			delete(b.waiting, r.ID)
			w <- r
		}
		b.note(&r)
		b.mu.Unlock()
	}
}

// note notes an event; b.mu is held.
func (b *browser) note(r *reply) {
	switch r.Method {
	case "Network.requestWillBeSent":
		var e struct{ Request struct{ URL string } }
		if json.Unmarshal(r.Params, &e) == nil {
			b.requests = append(b.requests, e.Request.URL)
		}
	case "Runtime.exceptionThrown":
		b.wrong = append(b.wrong, string(r.Params))
	case "Runtime.consoleAPICalled", "Log.entryAdded":
		var e struct {
			Type  string
			Entry struct{ Level string }
		}
		if json.Unmarshal(r.Params, &e) != nil || e.Type == "error" || e.Type == "warning" || e.Entry.Level == "error" || e.Entry.Level == "warning" {
			b.wrong = append(b.wrong, string(r.Params))
		}
	}
}

// call does one command and reads the answer into out, unless that is nil.
func (b *browser) call(session, method string, params, out any) {
	b.t.Helper()
	b.mu.Lock()
	b.last++
	id, answer := b.last, make(chan reply, 1)
	b.waiting[id] = answer
	dead := b.dead
	b.mu.Unlock()
	if dead != nil {
		b.t.Fatalf("%s: the browser is gone: %v", method, dead)
	}
	msg := map[string]any{"id": id, "method": method, "params": params}
	if session != "" {
		msg["sessionId"] = session
	}
	text, err := json.Marshal(msg)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	select {
	case r, ok := <-answer:
		if !ok || r.Error != nil {
			b.t.Fatalf("%s: %+v", method, r.Error)
		}
		if out != nil {
			if err := json.Unmarshal(r.Result, out); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(wait):
		b.t.Fatalf("%s: the browser doesn't answer", method)
	}
}

// clean checks that no page complained, and that none asked anybody but the
// nodes.
func (b *browser) clean(origins ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Errorf("on the console: %s", w)
	}
	for _, url := range b.requests {
		ok := strings.HasPrefix(url, "data:")
		for _, o := range origins {
			ok = ok || strings.HasPrefix(url, o+"/")
		}
		if !ok {
			b.t.Errorf("the page asked %s", url)
		}
	}
	if len(b.requests) < 3 {
		b.t.Errorf("only %d requests were seen", len(b.requests))
	}
}

// page is a tab.
type page struct {
	b       *browser
	session string
}

// open opens a node's page in a tab of its own, and waits until it is loaded.
func (b *browser) open(n *node) *page {
	b.t.Helper()
	b.nodes = append(b.nodes, n)
	p := b.tab()
	p.visit(n.ready.Open)
	return p
}

// tab opens an empty tab.
func (b *browser) tab() *page {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "newWindow": true}, &target) // a tab behind another one paints nothing
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	p := &page{b, attached.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		p.call(domain+".enable", map[string]any{}, nil)
	}
	p.size(800, 1000)
	return p
}

// visit goes to an address, as if it had been typed, and waits until what is
// there is loaded.
func (p *page) visit(url string) {
	p.b.t.Helper()
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	protocol, _, _ := strings.Cut(url, ":")
	eventually(p.b.t, "the page loads", func() bool {
		var state string
		p.run(&state, "location.protocol + document.readyState")
		return state == protocol+":complete"
	})
}

func (p *page) call(method string, params, out any) {
	p.b.t.Helper()
	p.b.call(p.session, method, params, out)
}

// run evaluates an expression, waits for it if it is a promise, and reads its
// value into out.
func (p *page) run(out any, format string, args ...any) {
	p.b.t.Helper()
	for i, a := range args { // as literals of the language
		text, err := json.Marshal(a)
		if err != nil {
			p.b.t.Fatal(err)
		}
		args[i] = string(text)
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	expression := fmt.Sprintf(format, args...)
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.ExceptionDetails != nil {
		p.b.t.Fatalf("%s: %s", expression, r.ExceptionDetails.Exception.Description)
	}
	if out != nil {
		if err := json.Unmarshal(r.Result.Value, out); err != nil {
			p.b.t.Fatalf("%s gave %s: %v", expression, r.Result.Value, err)
		}
	}
}

// size sets the size of the tab in CSS pixels.
func (p *page) size(width, height int) {
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
}

// scheme asks for light or dark colours.
func (p *page) scheme(name string) {
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": name}}}, nil)
}

// picture takes a picture of what the tab shows, for people, into the directory
// given with -pictures.
func (p *page) picture(name string) {
	p.b.t.Helper()
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil || len(png) < 1000 {
		p.b.t.Fatalf("a picture of %d bytes: %v", len(png), err)
	}
	if *pictures != "" {
		if err := os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600); err != nil {
			p.b.t.Fatal(err)
		}
	}
}
