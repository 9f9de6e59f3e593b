package node_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/bubble"
	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// sayer is somebody who sends live messages by hand.
type sayer struct {
	key    ed25519.PrivateKey
	author sennit.Principal
}

func (s sayer) message(space sennit.Space, path sennit.Path, at time.Time, life time.Duration) *wire.LiveMessage {
	return &wire.LiveMessage{
		Space: space, Path: path, Author: s.author, Clock: uint64(at.UnixMilli()) << 16, Expires: uint64(life.Milliseconds()),
		Type: "text/plain", Body: []byte("here"),
	}
}

func (s sayer) sign(m *wire.LiveMessage) *[64]byte {
	sig := keys.Sign(s.key, keys.DomainLive, m.Bytes())
	return &sig
}

// club is a node whose owner lets others write: a guest at "doc", a device of
// nobody in particular at "wall", and anybody at "board".
func club(t testing.TB, now func() time.Time) (m *machine, guest, device, anybody sayer) {
	t.Helper()
	m = boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem(), now: now})
	t.Cleanup(func() { m.stop() })
	p := newPerson("guest")
	laptop, pad, other := secret("guest laptop"), secret("pad"), secret("anybody")
	p.add(laptop)
	space := m.Self().Space
	if _, err := m.Allow(t.Context(), m.Owner(), space, []wire.Grant{
		{Prefix: "doc", May: sennit.Write | sennit.Read, Who: wire.Who{Subject: wire.SubjectSpace, Key: p.space()}},
		{Prefix: "wall", May: sennit.Write, Who: wire.Who{Subject: wire.SubjectDevice, Key: public(pad)}},
		{Prefix: "board", May: sennit.Write, Who: wire.Who{Subject: wire.SubjectAny}},
	}); err != nil {
		t.Fatal(err)
	}
	in := m.Intake()
	if err := in.Evidence(t.Context(), space, p.evidence()); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m, sayer{laptop, sennit.Principal{Space: p.space(), Device: public(laptop)}},
		sayer{pad, sennit.Principal{Device: public(pad)}}, sayer{other, sennit.Principal{Device: public(other)}}
}

func TestWhoMaySendLiveMessages(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	m, guest, device, anybody := club(t, func() time.Time { return now })
	space := m.Self().Space
	liar := sayer{guest.key, sennit.Principal{Space: space, Device: guest.author.Device}} // in the owner's name
	pretender := sayer{anybody.key, sennit.Principal{Space: guest.author.Space, Device: anybody.author.Device}}
	nobody := sayer{anybody.key, sennit.Principal{}}
	for _, c := range []struct {
		name  string
		who   sayer
		path  sennit.Path
		after time.Duration // of its clock
		life  time.Duration
		fresh bool
		code  sennit.Code
	}{
		{"a guest", guest, "doc", 0, time.Second, true, ""},
		{"a guest beneath", guest, "doc/a/b", 0, time.Second, true, ""},
		{"a guest elsewhere", guest, "wall", 0, time.Second, false, sennit.Denied},
		{"a guest in the owner's name", liar, "doc", 0, time.Second, false, sennit.Denied},
		{"a device", device, "wall/1", 0, time.Second, true, ""},
		{"a device elsewhere", device, "doc/x", 0, time.Second, false, sennit.Denied},
		{"anybody", anybody, "board", 0, time.Second, true, ""},
		{"anybody in the guest's name", pretender, "board/x", 0, time.Second, false, sennit.Denied},
		{"no device", nobody, "board/y", 0, time.Second, false, sennit.BadInput},
		{"the root", guest, "", 0, time.Second, false, sennit.Denied},
		{"void", guest, "doc/1", -time.Second, time.Second, false, ""},
		{"nearly void", guest, "doc/2", -time.Second, time.Second + time.Millisecond, true, ""},
		{"ahead", guest, "doc/3", time.Minute, time.Second, true, ""},
		{"too far ahead", guest, "doc/4", time.Minute + time.Millisecond, time.Second, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg := c.who.message(space, c.path, now.Add(c.after), c.life)
			fresh, err := m.Hear(msg, c.who.sign(msg), nil)
			if fresh != c.fresh || sennit.CodeOf(err) != c.code {
				t.Errorf("fresh is %v, %v; want %v and code %q", fresh, err, c.fresh, c.code)
			}
		})
	}
	msg := guest.message(newPerson("stranger").space(), "doc", now, time.Second)
	if _, err := m.Hear(msg, guest.sign(msg), nil); sennit.CodeOf(err) != sennit.NotFound {
		t.Errorf("a message in an unknown space: %v", err)
	}
	msg = sayer{author: m.Self()}.message(space, "", now, time.Second)
	own := m.id.SignLive(msg)
	if _, err := m.Hear(msg, &own, nil); sennit.CodeOf(err) != sennit.Denied {
		t.Errorf("a message of the owner at the root: %v", err)
	}
	msg = guest.message(space, "doc/5", now, time.Second)
	sig := guest.sign(msg)
	for i := range sig {
		sig[i] ^= 4
		if fresh, err := m.Hear(msg, sig, nil); fresh || sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("with byte %d of the signature changed: %v, %v", i, fresh, err)
		}
		sig[i] ^= 4
	}
	// What was refused leaves no trace that keeps the genuine one out.
	if fresh, err := m.Hear(msg, sig, nil); !fresh || err != nil {
		t.Errorf("the genuine message after forged ones: %v, %v", fresh, err)
	}
}

// TestLiveMessagesAreHeardOnce holds what is taken against a plain account:
// per author and path, a message newer than all before, while it counts.
func TestLiveMessagesAreHeardOnce(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	m, guest, _, anybody := club(t, func() time.Time { return now })
	space := m.Self().Space
	type at struct {
		who  sennit.Device
		path sennit.Path
	}
	newest := map[at]uint64{}
	rapid.Check(t, func(rt *rapid.T) {
		var sent []*wire.LiveMessage
		by := map[sennit.Device]sayer{guest.author.Device: guest, anybody.author.Device: anybody}
		for range rapid.IntRange(1, 20).Draw(rt, "messages") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 500, 20_000, 70_000}).Draw(rt, "later")) * time.Millisecond)
			var msg *wire.LiveMessage
			if len(sent) > 0 && rapid.Bool().Draw(rt, "again") {
				msg = rapid.SampledFrom(sent).Draw(rt, "which")
			} else {
				who, dir := guest, "doc/"
				if rapid.Bool().Draw(rt, "anybody") {
					who, dir = anybody, "board/"
				}
				off := time.Duration(rapid.IntRange(-61_000, 61_000).Draw(rt, "off")) * time.Millisecond
				life := time.Duration(rapid.IntRange(0, 60_000).Draw(rt, "life")) * time.Millisecond
				msg = who.message(space, sennit.Path(dir+rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "path")), now.Add(off), life)
				sent = append(sent, msg)
			}
			ms, key := uint64(now.UnixMilli()), at{msg.Author.Device, msg.Path}
			want := msg.Clock>>16+msg.Expires > ms && msg.Clock>>16 <= ms+60_000 && newest[key] < msg.Clock
			if want {
				newest[key] = msg.Clock
			}
			fresh, err := m.Hear(msg, by[msg.Author.Device].sign(msg), nil)
			if fresh != want || err != nil {
				rt.Fatalf("a message of %d for %d ms at %d: fresh is %v, %v; want %v", msg.Clock>>16, msg.Expires, ms, fresh, err, want)
			}
		}
	})
}

// TestMemoryOfLiveMessagesIsBounded: who sends to too many paths has to wait,
// and keeps nobody else waiting before the whole space is full.
func TestMemoryOfLiveMessagesIsBounded(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	m, guest, _, _ := club(t, func() time.Time { return now })
	space := m.Self().Space
	hear := func(who sayer, path string) error {
		msg := who.message(space, sennit.Path(path), now, time.Second)
		fresh, err := m.Hear(msg, who.sign(msg), nil)
		if fresh == (err != nil) {
			t.Fatalf("fresh is %v, %v", fresh, err)
		}
		return err
	}
	fill := func(i int) error {
		key := secret(fmt.Sprint("flooder ", i))
		who := sayer{key, sennit.Principal{Device: public(key)}}
		for j := range 256 {
			if err := hear(who, fmt.Sprint("board/", j)); err != nil {
				return err
			}
		}
		if err := hear(who, "board/more"); sennit.CodeOf(err) != sennit.OverQuota {
			t.Errorf("a device's path number 257: %v", err)
		}
		return nil
	}
	for i := range 15 {
		if err := fill(i); err != nil {
			t.Fatal(err)
		}
		if err := hear(guest, fmt.Sprint("doc/", i)); err != nil {
			t.Fatalf("after %d devices: %v", i, err)
		}
	}
	if err := fill(16); sennit.CodeOf(err) != sennit.OverQuota {
		t.Errorf("path number 4097 of a space: %v", err)
	}
	now = now.Add(59 * time.Second)
	if err := hear(guest, "doc/late"); sennit.CodeOf(err) != sennit.OverQuota {
		t.Errorf("after 59 seconds: %v", err)
	}
	now = now.Add(time.Second)
	for i := range 15 {
		if err := fill(i); err != nil {
			t.Fatalf("after a minute: %v", err)
		}
	}
}

// TestWatchesOfLiveMessages is about what lies between a message and a reader:
// time, rights, slowness, and the end of the watch or the node.
func TestWatchesOfLiveMessages(t *testing.T) {
	for name, f := range map[string]func(t *testing.T, m *machine, guest sayer){
		"void before it is read": func(t *testing.T, m *machine, _ sayer) {
			w := mailWatch(t, m, m.Owner())
			mailSend(t, m, "doc", time.Second)
			time.Sleep(time.Second)
			mailSend(t, m, "doc/2", time.Second)
			wantMail(t, w, "doc/2")
		},
		"a right that ends": func(t *testing.T, m *machine, guest sayer) {
			soon := uint64(time.Now().Add(time.Minute).UnixMilli())
			if _, err := m.Allow(t.Context(), m.Owner(), m.Self().Space, []wire.Grant{
				{Prefix: "news", May: sennit.Read, Until: soon, Who: wire.Who{Subject: wire.SubjectSpace, Key: guest.author.Space}},
			}); err != nil {
				t.Fatal(err)
			}
			w := mailWatch(t, m, node.Caller{Principal: guest.author})
			mailSend(t, m, "news", 0)
			mailSend(t, m, "wall", 0)
			mailSend(t, m, "doc", 0)
			wantMail(t, w, "news", "doc")
			time.Sleep(50 * time.Second)
			mailSend(t, m, "news", 0)
			synctest.Wait()
			time.Sleep(20 * time.Second)
			mailSend(t, m, "doc/2", 0)
			wantMail(t, w, "doc/2")
		},
		"a slow reader": func(t *testing.T, m *machine, _ sayer) {
			w := mailWatch(t, m, m.Owner())
			write := func(value string) {
				t.Helper()
				if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "doc", Value: sennit.Value{Data: []byte(value)}}}); err != nil {
					t.Fatal(err)
				}
			}
			write("one")
			for range 1000 {
				mailSend(t, m, "doc", 0)
				synctest.Wait()
			}
			write("two")
			sets, messages := 0, 0
			for _, u := range mailRest(t, w) {
				switch {
				case u.Kind == sennit.Set && string(u.Node.Value.Data) == "two":
					sets++
				case u.Kind == sennit.Message:
					messages++
				}
			}
			if sets != 1 || messages > 512 {
				t.Errorf("the newest value came %d times, with %d messages", sets, messages)
			}
			mailSend(t, m, "doc/last", 0)
			wantMail(t, w, "doc/last")
		},
		"a message that is not for it, while it waits": func(t *testing.T, m *machine, guest sayer) {
			w := mailWatch(t, m, node.Caller{Principal: guest.author})
			got := make(chan []sennit.Update)
			go func() {
				updates, err := w.Next(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- updates
			}()
			for _, p := range []sennit.Path{"wall", "wall", "doc"} {
				synctest.Wait()
				mailSend(t, m, p, 0)
			}
			if updates := <-got; len(updates) != 1 || updates[0].Node.Path != "doc" {
				t.Errorf("it was told %v", updates)
			}
		},
		"a watch that is closed": func(t *testing.T, m *machine, _ sayer) {
			w := mailWatch(t, m, m.Owner())
			done := make(chan error)
			go func() {
				_, err := w.Next(context.Background())
				done <- err
			}()
			synctest.Wait()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; sennit.CodeOf(err) != sennit.Gone {
				t.Errorf("the wait ends with %v", err)
			}
		},
		"a node that stops": func(t *testing.T, m *machine, guest sayer) {
			w := mailWatch(t, m, m.Owner())
			done := make(chan error)
			go func() {
				_, err := w.Next(context.Background())
				done <- err
			}()
			synctest.Wait()
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; sennit.CodeOf(err) != sennit.Gone {
				t.Errorf("the wait ends with %v", err)
			}
			if err := m.Bus(m.Owner()).Send(t.Context(), sennit.Addr{Root: "me", Path: "doc"}, sennit.Value{}, 0); sennit.CodeOf(err) != sennit.Gone {
				t.Errorf("sending ends with %v", err)
			}
			msg := guest.message(m.Self().Space, "doc", time.Now(), time.Second)
			if _, err := m.Hear(msg, guest.sign(msg), nil); sennit.CodeOf(err) != sennit.Gone {
				t.Errorf("hearing ends with %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				m, guest, _, _ := club(t, nil)
				f(t, m, guest)
			})
		})
	}
}

// BenchmarkHear is one message of a peer that is new, or the same one again.
func BenchmarkHear(b *testing.B) {
	now := time.UnixMilli(1_800_000_000_000)
	m, guest, _, _ := club(b, func() time.Time { return now })
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			var all []*wire.LiveMessage
			var sigs []*[64]byte
			for i := range 4096 {
				msg := guest.message(m.Self().Space, "doc", now, time.Minute)
				msg.Clock += uint64(i)
				all, sigs = append(all, msg), append(sigs, guest.sign(msg))
			}
			for i := 0; b.Loop(); i++ {
				switch i %= len(all); {
				case again:
					i = 0
				case i == 0:
					b.StopTimer()
					now = now.Add(time.Minute)
					for j, msg := range all {
						msg.Clock += 60_000 << 16
						sigs[j] = guest.sign(msg)
					}
					b.StartTimer()
				}
				if fresh, err := m.Hear(all[i], sigs[i], nil); err != nil || !fresh && !again {
					b.Fatalf("fresh is %v, %v", fresh, err)
				}
			}
		})
	}
}

// mailWatch is a watch for messages everywhere in a node's own space, whose
// snapshot was read.
func mailWatch(t *testing.T, m *machine, c node.Caller) sennit.Watch {
	t.Helper()
	w, err := m.Bus(c).Watch(t.Context(), []sennit.Pattern{{Root: m.Self().Space.String()}}, sennit.WatchOptions{Messages: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	mailRest(t, w)
	return w
}

// mailRest is what a watch has, until nothing comes for a second.
func mailRest(t *testing.T, w sennit.Watch) (all []sennit.Update) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		updates, err := w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, updates...)
	}
}

func mailSend(t *testing.T, m *machine, path sennit.Path, life time.Duration) {
	t.Helper()
	if err := m.Bus(m.Owner()).Send(t.Context(), sennit.Addr{Root: "me", Path: path}, sennit.Value{Data: []byte("here")}, life); err != nil {
		t.Fatal(err)
	}
}

func wantMail(t *testing.T, w sennit.Watch, paths ...sennit.Path) {
	t.Helper()
	var got []sennit.Path
	for _, u := range mailRest(t, w) {
		if u.Kind == sennit.Message {
			got = append(got, u.Node.Path)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(paths) {
		t.Errorf("messages came at %q, want %q", got, paths)
	}
}
