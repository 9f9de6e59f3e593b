package bustest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/sennit/sennit"
)

func big(t *testing.T, bus sennit.Bus) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, sennit.MaxInline, sennit.MaxInline + 1, 5*sennit.MaxInline + 17} {
		want := make([]byte, size)
		random.Read(want)
		v, err := bus.Put(t.Context(), me("big"), "image/png", bytes.NewReader(want), nil)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		short := get(t, bus, "big")
		n, c := open(t, bus, "big")
		large := size > sennit.MaxInline
		if short.Version != v || n.Version != v || mediaType(short.Value) != "image/png" || n.Value.Size() != uint64(size) || short.Value.Size() != uint64(size) ||
			(short.Value.Blob != nil) != large || (n.Value.Blob != nil) != large {
			t.Fatalf("%d bytes come back as %+v, opened %+v", size, short.Value.Blob, n.Value.Blob)
		}
		if !large && !bytes.Equal(short.Value.Data, want) || large && short.Value.Data != nil {
			t.Errorf("%d bytes: %d come back at once", size, len(short.Value.Data))
		}
		if size > 100 {
			wantRanges(t, c, want)
		}
		// A content stays that of its version, whatever is put meanwhile.
		put(t, bus, "big", "another")
		p := make([]byte, size)
		if k, err := c.ReadAt(t.Context(), p, 0); size > 0 && large && sennit.CodeOf(err) != sennit.Conflict && (!bytes.Equal(p[:k], want[:k]) || err != nil && !errors.Is(err, io.EOF)) {
			t.Errorf("%d of %d bytes after the value changed, right: %v, %v", k, size, bytes.Equal(p[:k], want[:k]), err)
		}
		c.Close()
	}

	// Watches tell what it is, and not the bytes.
	want := bytes.Repeat([]byte("0123456789"), 20_000)
	r := watch(t, bus, sennit.WatchOptions{}, only("big"))
	r.snapshot()
	if _, err := bus.Put(t.Context(), me("big"), "", bytes.NewReader(want), nil); err != nil {
		t.Fatal(err)
	}
	if u := r.change(); u.Kind != sennit.Set || u.Node.Value.Blob == nil || u.Node.Value.Blob.Size != uint64(len(want)) || len(u.Node.Value.Data) > 0 {
		t.Errorf("a watch tells %s, blob %+v", show(u), u.Node.Value.Blob)
	}

	// What breaks off isn't set, and neither is what may not be.
	broken := errors.New("broken")
	for _, size := range []int{0, 100, 3 * sennit.MaxInline} {
		from := io.MultiReader(bytes.NewReader(want[:size]), iotest.ErrReader(broken))
		if _, err := bus.Put(t.Context(), me("half"), "", from, nil); err == nil {
			t.Errorf("%d bytes before it broke off: it was put", size)
		}
	}
	wantNothing(t, bus, "half")
	for _, p := range []sennit.Path{".acl/x", ""} {
		if _, err := bus.Put(t.Context(), sennit.Addr{Root: "me", Path: p}, "", bytes.NewReader(want), nil); err == nil {
			t.Errorf("a value was put at %q", p)
		}
	}
	if _, err := bus.Put(t.Context(), me("typed"), "a\nb", bytes.NewReader(want), nil); err == nil {
		t.Error("a value was put with two lines for a type")
	}
	wantNothing(t, bus, "typed")
}
