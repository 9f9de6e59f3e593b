package blob_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
)

// state is what the model knows of one blob: a flag for each piece.
type state struct {
	whole         bool
	partial       bool
	here, durable []bool
}

// universe is the blobs that histories are about.
type universe struct {
	data    [][]byte
	sources []*blob.Reader
}

func newUniverse(t *testing.T) *universe {
	u := &universe{}
	for i, size := range []int{blob.Piece + 1, 4*blob.Piece + 500} {
		u.data = append(u.data, noise(byte(i), size))
		u.sources = append(u.sources, sourceOf(t, u.data[i]))
	}
	return u
}

// machine runs a store beside the model.
type machine struct {
	*universe
	t       *testing.T
	fs      *vfs.MemFS
	s       *blob.Store
	fetches []*blob.Fetch // by blob, nil if none is open
	model   []state
}

const syncEvery = 3

func (m *machine) reopen(t *rapid.T) {
	var err error
	if m.s, err = blob.Open(blob.Config{Dir: dir, FS: m.fs, SyncEvery: syncEvery}); err != nil {
		t.Fatal(err)
	}
	m.fetches = make([]*blob.Fetch, len(m.data))
}

func (m *machine) pick(t *rapid.T) int { return rapid.IntRange(0, len(m.data)-1).Draw(t, "blob") }

// fetch is an open fetch of a blob.
func (m *machine) fetch(t *rapid.T, k int) *blob.Fetch {
	if m.fetches[k] == nil {
		f, err := m.s.Begin(m.t.Context(), named(m.data[k]))
		if err != nil {
			t.Fatal(err)
		}
		m.fetches[k] = f
		if st := &m.model[k]; !st.whole && !st.partial {
			n := pieceCount(m.data[k])
			*st = state{partial: true, here: make([]bool, n), durable: make([]bool, n)}
		}
	}
	return m.fetches[k]
}

func (m *machine) becomeWhole(k int) { m.model[k] = state{whole: true} }

func (m *machine) write(t *rapid.T) {
	k := m.pick(t)
	w := m.s.Create()
	if _, err := w.Write(m.data[k]); err != nil {
		t.Fatal(err)
	}
	if rapid.IntRange(0, 3).Draw(t, "abort") == 0 {
		w.Abort()
		return
	}
	if v, err := w.Finish(m.t.Context()); err != nil || *v.Blob != named(m.data[k]) {
		t.Fatal(v, err)
	}
	m.becomeWhole(k)
}

func (m *machine) put(t *rapid.T) {
	k := m.pick(t)
	f := m.fetch(t, k)
	n := int(pieceCount(m.data[k]))
	first := rapid.IntRange(0, n-1).Draw(t, "first")
	count := rapid.IntRange(1, n-first).Draw(t, "count")
	slice, err := m.sources[k].Slice(nil, uint64(first), count)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Put(m.t.Context(), uint64(first), count, slice); err != nil {
		t.Fatal(err)
	}
	st := &m.model[k]
	if st.whole {
		return
	}
	for i := range count {
		st.here[first+i] = true
	}
	if !slices.Contains(st.here, false) {
		m.becomeWhole(k)
	}
}

func (m *machine) putAltered(t *rapid.T) {
	k := m.pick(t)
	f := m.fetch(t, k)
	n := int(pieceCount(m.data[k]))
	first := rapid.IntRange(0, n-1).Draw(t, "first")
	count := rapid.IntRange(1, n-first).Draw(t, "count")
	slice, err := m.sources[k].Slice(nil, uint64(first), count)
	if err != nil {
		t.Fatal(err)
	}
	at := rapid.IntRange(0, len(slice)-1).Draw(t, "at")
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		slice[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case 1:
		slice = slice[:at]
	case 2:
		slice = slices.Insert(slice, at, 0)
	case 3:
		first++
	}
	mustFail(t, f.Put(m.t.Context(), uint64(first), count, slice), sennit.BadInput)
}

func (m *machine) endFetch(t *rapid.T) {
	k := m.pick(t)
	if m.fetches[k] == nil {
		t.Skip("there is none")
	}
	if err := m.fetches[k].Close(); err != nil {
		t.Fatal(err)
	}
	m.fetches[k] = nil
	m.model[k].durable = slices.Clone(m.model[k].here)
}

func (m *machine) removeOne(t *rapid.T) {
	k := m.pick(t)
	err := m.s.Remove(m.t.Context(), named(m.data[k]))
	if st := m.model[k]; !st.whole && !st.partial {
		mustFail(t, err, sennit.NotFound)
	} else if err != nil {
		t.Fatal(err)
	}
	m.model[k] = state{}
	if f := m.fetches[k]; f != nil {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		m.fetches[k] = nil
	}
}

// removePart removes a blob if it is partly here and nobody fetches it.
func (m *machine) removePart(t *rapid.T) {
	k := m.pick(t)
	if err := m.s.RemovePartial(m.t.Context(), named(m.data[k])); err != nil {
		t.Fatal(err)
	}
	if m.model[k].partial && m.fetches[k] == nil {
		m.model[k] = state{}
	}
}

// stop ends the process without a word, with or without the power.
func (m *machine) stop(t *rapid.T) {
	percent := rapid.SampledFrom([]int{0, 30, 100}).Draw(t, "percent")
	seed := rapid.Uint64().Draw(t, "seed")
	m.fs = m.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})
	m.reopen(t)
	for k := range m.model {
		st := &m.model[k]
		if !st.partial {
			continue
		}
		there := false
		if err := m.s.Each(func(ref sennit.Blob, _ uint64, _ bool) error {
			there = there || ref == named(m.data[k])
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !there {
			if slices.Contains(st.durable, true) {
				t.Fatal("what a closed fetch kept is lost")
			}
			*st = state{}
			continue
		}
		// What wasn't synced may be here or not: the model takes it as it is.
		f := m.fetch(t, k)
		missing, lost := flags(f.Missing(0, 99), len(st.here)), 0
		for i := range st.here {
			if missing[i] && st.durable[i] || !missing[i] && !st.here[i] {
				t.Fatalf("piece %d: missing %v, but put %v and synced %v", i, missing[i], st.here[i], st.durable[i])
			}
			if missing[i] && st.here[i] {
				lost++
			}
			st.here[i] = !missing[i]
		}
		if lost >= syncEvery {
			t.Fatalf("%d pieces are lost", lost)
		}
		st.durable = slices.Clone(st.here)
	}
}

// flags has true for the pieces in ranges.
func flags(ranges []blob.Range, n int) []bool {
	f := make([]bool, n)
	for _, r := range ranges {
		for i := r.First; i < r.End; i++ {
			f[i] = true
		}
	}
	return f
}

// look reads a part of a blob that should be here.
func (m *machine) look(t *rapid.T) {
	k := m.pick(t)
	st := m.model[k]
	if !st.whole && !st.partial {
		_, err := m.s.Open(m.t.Context(), named(m.data[k]))
		mustFail(t, err, sennit.NotFound)
		return
	}
	r, err := m.s.Open(m.t.Context(), named(m.data[k]))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, here := range flags(r.Here(1<<20), int(pieceCount(m.data[k]))) {
		if here != (st.whole || st.here[i]) {
			t.Fatalf("it says that piece %d is here: %v", i, here)
		}
	}
	if n := len(r.Here(1)); n > 1 || len(r.Here(0)) != 0 {
		t.Fatalf("%d ranges instead of at most one", n)
	}
	for i := range pieceCount(m.data[k]) {
		slice, err := r.Slice(nil, i, 1)
		if !st.whole && !st.here[i] {
			mustFail(t, err, sennit.NotFound)
			continue
		}
		want, werr := m.sources[k].Slice(nil, i, 1)
		if err != nil || werr != nil || !bytes.Equal(slice, want) {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
}

// check compares all that can be asked with the model.
func (m *machine) check(t *rapid.T) {
	found, sum := 0, uint64(0)
	if err := m.s.Each(func(ref sennit.Blob, n uint64, whole bool) error {
		k := slices.IndexFunc(m.data, func(d []byte) bool { return uint64(len(d)) == ref.Size })
		if st := m.model[k]; st.whole != whole || st.partial == whole {
			t.Fatalf("blob %d is whole: %v, and should be %+v", k, whole, st)
		}
		found++
		sum += n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for k, st := range m.model {
		if st.whole || st.partial {
			found--
		}
		if ok, err := m.s.Has(m.t.Context(), named(m.data[k])); ok != st.whole || err != nil {
			t.Fatal(ok, err)
		}
		if f := m.fetches[k]; f != nil {
			want := make([]bool, pieceCount(m.data[k]))
			for i := range want {
				want[i] = !st.whole && !st.here[i]
			}
			if got := flags(f.Missing(0, 99), len(want)); !slices.Equal(got, want) || f.Done() != st.whole {
				t.Fatalf("blob %d: missing is %v, not %v", k, got, want)
			}
		}
	}
	if found != 0 || sum != m.s.Usage() {
		t.Fatalf("%d too many are here, with %d bytes of %d", found, sum, m.s.Usage())
	}
}

// A store does what a few flags do, whatever is put in which order, and however
// often it stops.
func TestModel(t *testing.T) {
	t.Parallel()
	u := newUniverse(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{universe: u, t: t, fs: vfs.NewCrashableMem(), model: make([]state, len(u.data))}
		m.reopen(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"write":  m.write,
			"put":    m.put,
			"put2":   m.put,
			"alter":  m.putAltered,
			"close":  m.endFetch,
			"remove": m.removeOne,
			"part":   m.removePart,
			"crash":  m.stop,
			"read":   m.look,
			"":       m.check,
		})
		for k := range u.data {
			if err := m.s.Verify(t.Context(), named(u.data[k])); err != nil && sennit.CodeOf(err) != sennit.NotFound {
				rt.Fatal(err)
			}
		}
	})
}
