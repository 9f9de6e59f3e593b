package wire

import "encoding/binary"

// Bounds of what a message tells of who holds a space.
const (
	MaxSources     = 16             // hosts
	MaxSourceAddrs = 4              // addresses of one
	MaxSourceAge   = 30 * 24 * 3600 // seconds
)

// Sources tells who else holds a space, and may be told of: it takes the place of
// what its sender told before. Own is where its sender can be reached; none says
// that it doesn't want to be told of.
//
//	tag | own list of text | others list of (host 32 bytes, age uvarint, addrs list of text), by host
//
// Hosts ascend, and none is there twice. Each has at least one address.
type Sources struct {
	Tag    Tag
	Own    []string
	Others []Source
}

// Source is a host that holds a space.
type Source struct {
	Host  [32]byte
	Age   uint64   // seconds since its teller and it last held the same
	Addrs []string // multiaddrs, as text
}

func (*Sources) frame() FrameType { return FrameSources }

func (s *Sources) append(dst []byte) []byte {
	dst = appendAddrs(append(dst, s.Tag[:]...), s.Own, MaxSourceAddrs)
	dst = binary.AppendUvarint(dst, uint64(len(s.Others)))
	for _, o := range s.Others {
		dst = binary.AppendUvarint(append(dst, o.Host[:]...), o.Age)
		dst = appendAddrs(dst, o.Addrs, MaxSourceAddrs)
	}
	return dst
}

func (r *reader) sources() *Sources {
	s := &Sources{Tag: r.tag8(), Own: r.addrs(MaxSourceAddrs)}
	for i := range r.count(MaxSources, 35) {
		var o Source
		copy(o.Host[:], r.take(32))
		o.Age, o.Addrs = r.uvarint(MaxSourceAge), r.addrs(MaxSourceAddrs)
		switch {
		case r.err != nil:
		case i > 0 && string(s.Others[i-1].Host[:]) >= string(o.Host[:]):
			r.fail("sources out of order")
		case len(o.Addrs) == 0:
			r.fail("a source without an address")
		}
		if r.err != nil {
			break
		}
		s.Others = append(s.Others, o)
	}
	return s
}

func appendAddrs(dst []byte, addrs []string, limit int) []byte {
	addrs = addrs[:min(len(addrs), limit)]
	dst = binary.AppendUvarint(dst, uint64(len(addrs)))
	for _, a := range addrs {
		dst = appendBytes(dst, a)
	}
	return dst
}

func (r *reader) addrs(limit int) (all []string) {
	for range r.count(limit, 1) {
		all = append(all, string(r.text(maxAddr)))
	}
	return all
}
