package blob_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"lukechampine.com/blake3/bao"
	"lukechampine.com/blake3/guts"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/blob"
)

// group is the logarithm of the chunks in a piece.
const group = 6

// sourceOf is a reader of a store that has a blob.
func sourceOf(t testing.TB, data []byte) *blob.Reader {
	t.Helper()
	s := inMemory(t)
	return read(t, s, write(t, s, data))
}

func sliceOf(t testing.TB, r *blob.Reader, first uint64, count int) []byte {
	t.Helper()
	b, err := r.Slice(nil, first, count)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pieceCount(data []byte) uint64 { return uint64(len(data)+blob.Piece-1) / blob.Piece }

// Another implementation makes the same slices.
func TestSlicesAreThoseOfBao(t *testing.T) {
	for _, size := range []int{blob.Piece + 1, 3 * blob.Piece, 5*blob.Piece + 7, 8 * blob.Piece, 11*blob.Piece + 1} {
		data := noise(1, size)
		encoded, root := bao.EncodeBuf(data, group, false)
		r := sourceOf(t, data)
		if root != r.Blob().Root {
			t.Fatalf("bao names %d bytes %x", size, root)
		}
		n := pieceCount(data)
		for first := range n {
			for count := uint64(1); first+count <= n; count += 2 {
				off := first * blob.Piece
				length := min(count*blob.Piece, uint64(size)-off)
				var want bytes.Buffer
				if err := bao.ExtractSlice(&want, bytes.NewReader(encoded), nil, group, off, length); err != nil {
					t.Fatal(err)
				}
				if got := sliceOf(t, r, first, int(count)); !bytes.Equal(got, want.Bytes()) {
					t.Fatalf("the slice of %d pieces from %d of %d bytes is another", count, first, size)
				}
			}
		}
	}
}

func TestSliceAppends(t *testing.T) {
	data := noise(1, 3*blob.Piece)
	r := sourceOf(t, data)
	want := sliceOf(t, r, 1, 1)
	got, err := r.Slice([]byte("before"), 1, 1)
	if err != nil || string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
		t.Errorf("it doesn't follow what was there: %v", err)
	}
}

func TestSlicesAreBounded(t *testing.T) {
	data := noise(1, 41*blob.Piece+1)
	r := sourceOf(t, data)
	for first := range pieceCount(data) {
		for _, count := range []int{1, 2, 3, 15, 16} {
			if first+uint64(count) > pieceCount(data) {
				break
			}
			over := len(sliceOf(t, r, first, count)) - count*blob.Piece
			if most := 8 + 64*(count-1) + 128*6; over > most { // 42 pieces are halved 6 times
				t.Fatalf("%d pieces from %d cost %d bytes, more than %d", count, first, over, most)
			}
		}
	}
	for _, c := range []struct {
		first uint64
		count int
	}{{0, 0}, {0, -1}, {0, blob.MaxSlice + 1}, {42, 1}, {41, 2}, {1 << 63, 1}, {^uint64(0), 2}} {
		_, err := r.Slice(nil, c.first, c.count)
		mustFail(t, err, sennit.BadInput, "a slice has 1 to 16 of the 42 pieces")
	}
}

// Whatever is done to a slice, it is refused, and nothing is taken from it.
func TestAlteredSlicesChangeNothing(t *testing.T) {
	data, other := noise(1, 5*blob.Piece+99), noise(2, 5*blob.Piece+99)
	r := sourceOf(t, data)
	slice := sliceOf(t, r, 1, 2)
	s := inMemory(t)
	f := begin(t, s, named(data))
	before := f.Missing(0, 9)
	refused := func(t *testing.T, first uint64, count int, b []byte) {
		t.Helper()
		mustFail(t, f.Put(t.Context(), first, count, b), sennit.BadInput)
		if after := f.Missing(0, 9); !slices.Equal(before, after) {
			t.Fatalf("missing was %v and is %v", before, after)
		}
	}
	// Every byte of the size and the nodes, and some of the pieces.
	for at := 0; at < len(slice); at++ {
		if at > 8+3*64 && at%4099 != 0 {
			continue
		}
		b := slices.Clone(slice)
		b[at] ^= 0x80
		refused(t, 1, 2, b)
	}
	for _, n := range []int{0, 1, 8, 72, len(slice) - 1} {
		refused(t, 1, 2, slice[:n])
	}
	refused(t, 1, 2, append(slices.Clone(slice), 0))
	refused(t, 0, 2, slice)
	refused(t, 2, 2, slice)
	refused(t, 1, 1, slice)
	refused(t, 1, 3, slice)
	refused(t, 1, 0, slice)
	refused(t, 1, -1, slice)
	refused(t, 1, 1<<62, slice)
	refused(t, 1<<63, 2, slice)
	refused(t, 1, 2, sliceOf(t, sourceOf(t, other), 1, 2))
	if err := f.Put(t.Context(), 1, 2, slice); err != nil {
		t.Fatal(err)
	}
}

// No slice with the last piece verifies under another size, whatever its
// sender does, and none is needed to refuse most sizes.
func TestAWrongSizeIsRefused(t *testing.T) {
	for _, size := range []int{2 * blob.Piece, 4 * blob.Piece, 4*blob.Piece + 1, 5 * blob.Piece, 5*blob.Piece + 1024} {
		data := noise(1, size)
		r := sourceOf(t, data)
		for _, claim := range []int{size - 1, size + 1, size - 1024, size + 1024, size + blob.Piece, size - blob.Piece, 2 * size, 16 * size} {
			if claim <= sennit.MaxInline {
				continue
			}
			ref := sennit.Blob{Root: named(data).Root, Size: uint64(claim)}
			s := inMemory(t)
			f := begin(t, s, ref)
			last := (ref.Size - 1) / blob.Piece
			for first := range pieceCount(data) {
				slice := sliceOf(t, r, first, 1)
				mustFail(t, f.Put(t.Context(), min(first, last), 1, slice), sennit.BadInput)
				// The same with the size that was claimed, and cut or filled to fit.
				binary.LittleEndian.PutUint64(slice, ref.Size)
				for nodes := range 8 {
					n := 8 + nodes*64 + int(ref.Size-last*blob.Piece)
					b := append(slices.Clone(slice), make([]byte, blob.Piece)...)[:n]
					mustFail(t, f.Put(t.Context(), last, 1, b), sennit.BadInput)
				}
			}
			if f.Done() {
				t.Fatalf("%d bytes became a blob of %d", size, claim)
			}
			if got := f.Missing(last, 1); len(got) != 1 || got[0] != (blob.Range{First: last, End: last + 1}) {
				t.Fatalf("of %d bytes as %d, missing is %v", size, claim, got)
			}
		}
	}
}

// A slice of pieces on the left may verify under a size that isn't true, as
// they are the same pieces. The last one settles it.
func TestTheLastPieceProvesTheSize(t *testing.T) {
	data := noise(1, 6*blob.Piece)
	ref := sennit.Blob{Root: named(data).Root, Size: 7 * blob.Piece}
	slice := sliceOf(t, sourceOf(t, data), 0, 4)
	binary.LittleEndian.PutUint64(slice, ref.Size)
	s := inMemory(t)
	f := begin(t, s, ref)
	if err := f.Put(t.Context(), 0, 4, slice); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4*blob.Piece)
	if _, err := read(t, s, ref).ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, data[:len(got)]) {
		t.Errorf("the pieces that verified are others: %v", err)
	}
	slice = sliceOf(t, sourceOf(t, data), 5, 1)
	mustFail(t, f.Put(t.Context(), 6, 1, slice), sennit.BadInput, "458752", "393216")
	binary.LittleEndian.PutUint64(slice, ref.Size)
	mustFail(t, f.Put(t.Context(), 6, 1, slice), sennit.BadInput)
}

// biggest makes up a blob of 4 EiB, of which it knows the two pieces in the
// middle, and what proves them.
func biggest() (ref sennit.Blob, first uint64, slice []byte) {
	const middle = 1 << 45
	parent := func(l, r [32]byte, flags uint32) [32]byte {
		n := guts.Node{CV: guts.IV, Block: guts.BytesToWords([64]byte(slices.Concat(l[:], r[:]))), BlockLen: 64, Flags: guts.FlagParent | flags}
		b := guts.WordsToBytes(guts.CompressNode(n))
		return [32]byte(b[:32])
	}
	piece := func(i uint64) (b []byte, cv [32]byte) {
		b = noise(byte(i), blob.Piece)
		n := guts.CompressEigentree(b, &guts.IV, i*64, 0)
		out := guts.WordsToBytes(guts.CompressNode(n))
		return b, [32]byte(out[:32])
	}
	left, l := piece(middle - 1)
	right, r := piece(middle)
	for level := range 45 { // the pieces are the last of the left half, and the first of the right one
		beside := [32]byte{byte(level), 1}
		left = slices.Concat(beside[:], l[:], left)
		l = parent(beside, l, 0)
		right = slices.Concat(r[:], beside[:], right)
		r = parent(r, beside, 0)
	}
	slice = binary.LittleEndian.AppendUint64(nil, blob.MaxSize)
	slice = slices.Concat(slice, l[:], r[:], left, right)
	return sennit.Blob{Root: parent(l, r, guts.FlagRoot), Size: blob.MaxSize}, middle - 1, slice
}

// The deepest tree there is. The disk can't hold it, which shows that all of the
// slice was found to be right.
func TestTheDeepestTree(t *testing.T) {
	ref, first, slice := biggest()
	s := open(t, blob.Config{Dir: dir, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt {
			return syscall.ENOSPC
		}
		return nil
	}))})
	f := begin(t, s, ref)
	mustFail(t, f.Put(t.Context(), first, 2, slice), sennit.ReadOnly, "the disk takes no more")
	for at := 0; at < len(slice); at += 31 {
		slice[at] ^= 1
		mustFail(t, f.Put(t.Context(), first, 2, slice), sennit.BadInput)
		slice[at] ^= 1
		if at > 8+46*64 {
			at += 5000
		}
	}
}

// FuzzPut throws slices at a fetch, of which only the true ones may be taken.
func FuzzPut(f *testing.F) {
	data := pattern(3*blob.Piece + 1)
	r := sourceOf(f, data)
	s := inMemory(f)
	f.Add(uint64(0), 1, uint32(0), []byte{}, uint32(0))
	f.Add(uint64(1), 3, uint32(8), []byte{1}, uint32(0))
	f.Add(uint64(3), 1, uint32(0), []byte{1, 0, 3, 0, 0, 0, 0, 0}, uint32(0))
	f.Add(uint64(0), 4, uint32(100), []byte{}, uint32(1))
	f.Add(uint64(7), 16, uint32(1), []byte("slice"), uint32(70_000))
	f.Fuzz(func(t *testing.T, first uint64, count int, at uint32, with []byte, cut uint32) {
		truth, err := r.Slice(nil, first, count)
		b := slices.Clone(truth)
		if err != nil {
			b = sliceOf(t, r, first%4, 1)
		}
		b = b[:len(b)-min(int(cut), len(b))]
		if at := int(at); at <= len(b) {
			b = append(b[:at:at], append(slices.Clone(with), b[min(at+len(with), len(b)):]...)...)
		}
		fetch, err := s.Begin(t.Context(), named(data))
		if err != nil {
			t.Fatal(err)
		}
		err = fetch.Put(t.Context(), first, count, b)
		want := []blob.Range{{First: 0, End: 4}}
		if bytes.Equal(b, truth) && truth != nil {
			if err != nil {
				t.Fatalf("the truth was refused: %v", err)
			}
		} else {
			mustFail(t, err, sennit.BadInput)
			if got := fetch.Missing(0, 9); !slices.Equal(got, want) {
				t.Fatalf("missing is %v", got)
			}
		}
		if err := fetch.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(t.Context(), named(data)); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(t.Context(), named(data)); err != nil {
			t.Fatal(err)
		}
	})
}

// row is a row of the tables of examples in docs/formats/blobs.md.
var row = regexp.MustCompile("(?m)^\\| (\\S.*\\S) \\| `([0-9a-f]+)` \\|$")

func TestDocsShowWhatIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/formats/blobs.md")
	if err != nil {
		t.Fatal(err)
	}
	data := pattern(150_000)
	r := sourceOf(t, data)
	slice, root := sliceOf(t, r, 1, 1), r.Blob().Root
	is := map[string][]byte{
		"root, not in the slice": root[:],
		"slice: size":            slice[:8],
		"slice: node over 0-2":   slice[8:72],
		"slice: node over 0-1":   slice[72:136],
	}
	rows := row.FindAllSubmatch(page, -1)
	for _, m := range rows {
		name, value := string(m[1]), string(m[2])
		want, ok := is[name]
		if !ok {
			t.Errorf("nothing checks the row %q", name)
			continue
		}
		delete(is, name)
		if got := hex.EncodeToString(want); got != value {
			t.Errorf("%s is %s, not %s", name, got, value)
		}
	}
	for name := range is {
		t.Errorf("the page has no row %q", name)
	}
	if !bytes.Equal(slice[136:], data[blob.Piece:2*blob.Piece]) {
		t.Error("the slice doesn't end with the piece")
	}
}
