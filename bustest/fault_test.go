package bustest_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/bustest"
)

// A suite is worth what it catches. Each fault is planted into a Bus that is
// right otherwise, and the suite is run over it in a process of its own.

const faultVariable = "SENNIT_BUSTEST_FAULT"

// bus is a Bus with parts that can be exchanged for broken ones.
type bus struct {
	sennit.Bus
	get    func(sennit.Node, error) (sennit.Node, error)
	list   func(context.Context, sennit.Addr, sennit.Listing) ([]sennit.Entry, bool, error)
	write  func(context.Context, string, []sennit.Change) (sennit.Version, error)
	watch  func([]sennit.Pattern, sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions)
	next   func(sennit.Watch, context.Context) ([]sennit.Update, error)
	send   func(context.Context, sennit.Addr, sennit.Value, time.Duration) error
	close  func(sennit.Watch) error
	digest func(sennit.Digest, error) (sennit.Digest, error)
}

func (b *bus) Get(ctx context.Context, a sennit.Addr) (sennit.Node, error) {
	n, err := b.Bus.Get(ctx, a)
	if b.get != nil {
		return b.get(n, err)
	}
	return n, err
}

func (b *bus) List(ctx context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
	if b.list != nil {
		return b.list(ctx, a, o)
	}
	return b.Bus.List(ctx, a, o)
}

func (b *bus) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	if b.write != nil {
		return b.write(ctx, root, changes)
	}
	return b.Bus.Write(ctx, root, changes)
}

func (b *bus) Send(ctx context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
	if b.send != nil {
		return b.send(ctx, a, v, life)
	}
	return b.Bus.Send(ctx, a, v, life)
}

func (b *bus) Digest(ctx context.Context, a sennit.Addr) (sennit.Digest, error) {
	d, err := b.Bus.Digest(ctx, a)
	if b.digest != nil {
		return b.digest(d, err)
	}
	return d, err
}

func (b *bus) Watch(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) (sennit.Watch, error) {
	if b.watch != nil {
		patterns, o = b.watch(slices.Clone(patterns), o)
	}
	w, err := b.Bus.Watch(ctx, patterns, o)
	return &watch{w, b}, err
}

type watch struct {
	sennit.Watch
	bus *bus
}

func (w *watch) Next(ctx context.Context) ([]sennit.Update, error) {
	if w.bus.next != nil {
		return w.bus.next(w.Watch, ctx)
	}
	return w.Watch.Next(ctx)
}

func (w *watch) Close() error {
	if w.bus.close != nil {
		return w.bus.close(w.Watch)
	}
	return w.Watch.Close()
}

// options and updates make faults of a watch's options and of its updates.
func options(f func(*sennit.WatchOptions)) func(*bus) {
	return func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			f(&o)
			return p, o
		}
	}
}

func updates(f func([]sennit.Update) []sennit.Update) func(*bus) {
	return func(b *bus) {
		b.next = func(w sennit.Watch, ctx context.Context) ([]sennit.Update, error) {
			for {
				u, err := w.Next(ctx)
				if u = f(slices.Clone(u)); err != nil || len(u) > 0 {
					return u, err
				}
			}
		}
	}
}

func changes(f func([]sennit.Change) []sennit.Change) func(*bus) {
	return func(b *bus) {
		b.write = func(ctx context.Context, root string, c []sennit.Change) (sennit.Version, error) {
			return b.Bus.Write(ctx, root, f(slices.Clone(c)))
		}
	}
}

func listing(f func(*sennit.Listing, []sennit.Entry, bool) ([]sennit.Entry, bool)) func(*bus) {
	return func(b *bus) {
		b.list = func(ctx context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
			f(&o, nil, false)
			entries, more, err := b.Bus.List(ctx, a, o)
			entries, more = f(&o, entries, more)
			return entries, more, err
		}
	}
}

func got(f func(*sennit.Node)) func(*bus) {
	return func(b *bus) {
		b.get = func(n sennit.Node, err error) (sennit.Node, error) {
			f(&n)
			return n, err
		}
	}
}

func digested(f func(*sennit.Digest)) func(*bus) {
	return func(b *bus) {
		b.digest = func(d sennit.Digest, err error) (sennit.Digest, error) {
			f(&d)
			return d, err
		}
	}
}

var faults = map[string]func(*bus){
	"none":                     func(*bus) {},
	"a read loses the type":    got(func(n *sennit.Node) { n.Value.Type = "" }),
	"a read loses a byte":      got(func(n *sennit.Node) { n.Value.Data = n.Value.Data[:max(0, len(n.Value.Data)-1)] }),
	"a read loses the version": got(func(n *sennit.Node) { n.Version = "" }),
	"a read loses the author":  got(func(n *sennit.Node) { n.Author = sennit.Principal{} }),
	"a read loses the time":    got(func(n *sennit.Node) { n.Time = time.Time{} }),
	"a wrong code": func(b *bus) {
		b.get = func(n sennit.Node, err error) (sennit.Node, error) {
			if err != nil {
				err = sennit.Errorf(sennit.Internal, "%v", err)
			}
			return n, err
		}
	},
	"a listing out of order": listing(func(_ *sennit.Listing, e []sennit.Entry, more bool) ([]sennit.Entry, bool) {
		slices.Reverse(e)
		return e, more
	}),
	"a listing says there is no more": listing(func(_ *sennit.Listing, e []sennit.Entry, _ bool) ([]sennit.Entry, bool) { return e, false }),
	"a listing ignores the limit": listing(func(o *sennit.Listing, e []sennit.Entry, more bool) ([]sennit.Entry, bool) {
		o.Limit = 0
		return e, more
	}),
	"a listing repeats the entry after": listing(func(o *sennit.Listing, e []sennit.Entry, more bool) ([]sennit.Entry, bool) {
		o.After = o.After[:max(0, len(o.After)-1)]
		return e, more
	}),
	"a listing takes directories for values": listing(func(_ *sennit.Listing, e []sennit.Entry, more bool) ([]sennit.Entry, bool) {
		for i := range e {
			e[i].Value = true
		}
		return e, more
	}),
	"a commit falls apart": func(b *bus) {
		b.write = func(ctx context.Context, root string, c []sennit.Change) (v sennit.Version, err error) {
			if len(c) == 0 || len(c) > sennit.MaxOps {
				return b.Bus.Write(ctx, root, c)
			}
			for i := range c {
				if v, err = b.Bus.Write(ctx, root, c[i:i+1]); err != nil {
					return v, err
				}
			}
			return v, nil
		}
	},
	"a commit is done backwards": changes(func(c []sennit.Change) []sennit.Change {
		slices.Reverse(c)
		return c
	}),
	"a write loses the type": changes(func(c []sennit.Change) []sennit.Change {
		for i := range c {
			c[i].Value.Type = ""
		}
		return c
	}),
	"a deep delete is shallow": changes(func(c []sennit.Change) []sennit.Change {
		for i := range c {
			c[i].Deep = false
		}
		return c
	}),
	"a delete is always deep": changes(func(c []sennit.Change) []sennit.Change {
		for i := range c {
			c[i].Deep = c[i].Kind == sennit.KindDel
		}
		return c
	}),
	"a digest never changes":      digested(func(d *sennit.Digest) { d.Hash = sennit.Hash{1} }),
	"a digest changes by itself":  digested(func(d *sennit.Digest) { d.Hash[0] = byte(time.Now().UnixNano()) }),
	"a digest miscounts":          digested(func(d *sennit.Digest) { d.Ops = min(d.Ops, 3) }),
	"a resume loses one":          options(func(o *sennit.WatchOptions) { o.Since.N += min(o.Since.N, 1) }),
	"a resume repeats one":        options(func(o *sennit.WatchOptions) { o.Since.N -= min(o.Since.N, 1) }),
	"a resume starts from now":    options(func(o *sennit.WatchOptions) { o.Since = sennit.Cursor{} }),
	"a tail merges":               options(func(o *sennit.WatchOptions) { o.Tail = false }),
	"a state watch never merges":  options(func(o *sennit.WatchOptions) { o.Tail = true }),
	"the newest are all":          options(func(o *sennit.WatchOptions) { o.Newest = 0 }),
	"the newest are one too many": options(func(o *sennit.WatchOptions) { o.Newest += min(o.Newest, 1) }),
	"a resume ignores the epoch": func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			if d, err := b.Bus.Digest(context.Background(), sennit.Addr{Root: "me"}); err == nil && o.Since != (sennit.Cursor{}) {
				o.Since = sennit.Cursor{Epoch: d.Cursor.Epoch, N: min(o.Since.N, d.Cursor.N)}
			}
			return p, o
		}
	},
	"a watch of a value is of all beneath it": func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			for i := range p {
				p[i].Exact = false
			}
			return p, o
		}
	},
	"a watch minds one pattern": func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			return p[:min(1, len(p))], o
		}
	},
	"a watch tells things twice": updates(func(u []sennit.Update) []sennit.Update { return append(u, u...) }),
	"a watch loses the second of several": updates(func(u []sennit.Update) []sennit.Update {
		if len(u) > 2 && u[1].Kind != sennit.Live {
			u = slices.Delete(u, 1, 2)
		}
		return u
	}),
	"a watch is out of order": updates(func(u []sennit.Update) []sennit.Update {
		slices.SortStableFunc(u, func(a, b sennit.Update) int { return cmp.Compare(a.Kind, b.Kind) })
		return u
	}),
	"a watch hides deletes": updates(func(u []sennit.Update) []sennit.Update {
		return slices.DeleteFunc(u, func(u sennit.Update) bool { return u.Kind == sennit.Deleted })
	}),
	"a watch takes deep deletes for shallow ones": updates(func(u []sennit.Update) []sennit.Update {
		for i := range u {
			u[i].Deep = false
		}
		return u
	}),
	"a watch has no live marker": updates(func(u []sennit.Update) []sennit.Update {
		return slices.DeleteFunc(u, func(u sennit.Update) bool { return u.Kind == sennit.Live })
	}),
	"a watch tells half a commit": func(b *bus) {
		rest := map[sennit.Watch][]sennit.Update{}
		var mu sync.Mutex
		b.next = func(w sennit.Watch, ctx context.Context) (u []sennit.Update, err error) {
			mu.Lock()
			u = rest[w]
			mu.Unlock()
			if len(u) == 0 {
				if u, err = w.Next(ctx); err != nil {
					return nil, err
				}
			}
			mu.Lock()
			rest[w] = u[1:]
			mu.Unlock()
			return u[:1], nil
		}
	},
	"a wait that ends loses what came": func(b *bus) {
		b.next = func(w sennit.Watch, ctx context.Context) ([]sennit.Update, error) {
			u, err := w.Next(context.WithoutCancel(ctx))
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return u, err
		}
	},
	"messages are lost": func(b *bus) {
		b.send = func(context.Context, sennit.Addr, sennit.Value, time.Duration) error { return nil }
	},
	"messages come to those who did not ask": func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			o.Messages = true
			return p, o
		}
	},
	"messages come twice": func(b *bus) {
		b.send = func(ctx context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
			return cmp.Or(b.Bus.Send(ctx, a, v, life), b.Bus.Send(ctx, a, v, life))
		}
	},
	"messages are kept": func(b *bus) {
		b.send = func(ctx context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
			err := b.Bus.Send(ctx, a, v, life)
			if err == nil {
				_, err = b.Bus.Write(ctx, a.Root, []sennit.Change{{Kind: sennit.KindPut, Path: a.Path, Value: v}})
			}
			return err
		}
	},
	"messages count for as long as they like": func(b *bus) {
		b.send = func(ctx context.Context, a sennit.Addr, v sennit.Value, life time.Duration) error {
			return b.Bus.Send(ctx, a, v, min(life, sennit.MaxMessageLife))
		}
	},
	"a watch calls nobody": func(b *bus) {
		b.watch = func(p []sennit.Pattern, o sennit.WatchOptions) ([]sennit.Pattern, sennit.WatchOptions) {
			if o.Wake != nil {
				o.Wake = func() {}
			}
			return p, o
		}
	},
	"closing leaves a waiter waiting": func(b *bus) { b.close = func(sennit.Watch) error { return nil } },
}

// TestWithFault is the suite over a faulty Bus, run by the test below.
func TestWithFault(t *testing.T) {
	plant, ok := faults[os.Getenv(faultVariable)]
	if !ok {
		t.Skip("runs only as a part of TestSuiteCatchesFaults")
	}
	bustest.Run(t, func(*testing.T) sennit.Bus {
		b := &bus{Bus: bustest.Memory()}
		plant(b)
		return b
	})
}

func TestSuiteCatchesFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each of many faults")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The processes mostly wait, for what a faulty Bus never gives.
	atOnce := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for name := range faults {
		wg.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			limit := "8s" // a Bus that makes the suite hang is caught as well
			if name == "none" {
				limit = "2m"
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestWithFault$", "-test.failfast", "-test.timeout="+limit, "-rapid.nofailfile")
			cmd.Env = append(os.Environ(), faultVariable+"="+name)
			out, err := cmd.CombinedOutput()
			switch {
			case name == "none" && err != nil:
				t.Errorf("without a fault the suite fails: %v\n%s", err, out)
			case name != "none" && (err == nil || !strings.Contains(string(out), "FAIL") && !strings.Contains(string(out), "test timed out")):
				t.Errorf("the suite does not notice that %s: %v\n%s", name, err, out)
			}
		})
	}
	wg.Wait()
}
