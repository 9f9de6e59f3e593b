package peer

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/net/dns/dnsmessage"
)

// The records by which hosts find each other are those of libp2p's mDNS
// specification, with a service name of our own: a pointer from the service to
// an instance of a random name, and a text record of that instance with one
// "dnsaddr=<address with peer id>" for each address.
const (
	lanService = "_sennit._udp.local."
	lanText    = "dnsaddr="

	lanTTL      = 3 * time.Minute
	maxPacket   = 9000 // bytes; RFC 6762 section 17
	maxRecords  = 64   // looked at in one packet
	maxLANAddrs = 8    // of one host
)

// sighting is what a packet tells of one host. No addresses: it has left.
type sighting struct {
	id    ID
	addrs []string
	ttl   time.Duration
}

// question is the packet that asks who is there.
func question() ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	name, err := dnsmessage.NewName(lanService)
	if err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	return b.Finish()
}

// answer is the packet that tells of a host, or with a ttl of 0 that it leaves.
func answer(instance string, addrs []string, ttl time.Duration) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true, Authoritative: true})
	b.EnableCompression()
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	service, err := dnsmessage.NewName(lanService)
	if err != nil {
		return nil, err
	}
	self, err := dnsmessage.NewName(instance + "." + lanService)
	if err != nil {
		return nil, err
	}
	head := dnsmessage.ResourceHeader{Name: service, Class: dnsmessage.ClassINET, TTL: uint32(ttl / time.Second)}
	if err := b.PTRResource(head, dnsmessage.PTRResource{PTR: self}); err != nil {
		return nil, err
	}
	var text []string
	for _, a := range addrs[:min(len(addrs), maxLANAddrs)] {
		// A string of a text record has at most 255 bytes. Addresses with an
		// IP address have less than 150.
		text = append(text, lanText+a)
	}
	head.Name = self
	if err := b.TXTResource(head, dnsmessage.TXTResource{TXT: text}); err != nil {
		return nil, err
	}
	return b.Finish()
}

// hear takes from a packet whether it asks who is there, and of whom it tells.
// Whatever makes no sense is passed over. Addresses are kept if they are
// private, or if the packet came from there: nobody on the local network can
// send this host elsewhere.
func hear(packet []byte, from netip.Addr) (asks bool, seen []sighting) {
	var p dnsmessage.Parser
	head, err := p.Start(packet)
	if err != nil {
		return false, nil
	}
	for range maxRecords {
		q, err := p.Question()
		if err != nil {
			break
		}
		pointer := q.Type == dnsmessage.TypePTR || q.Type == dnsmessage.TypeALL
		asks = asks || !head.Response && pointer && strings.EqualFold(q.Name.String(), lanService)
	}
	if !head.Response || p.SkipAllQuestions() != nil {
		return asks, nil
	}
	for range maxRecords {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		name := strings.ToLower(h.Name.String())
		if h.Type != dnsmessage.TypeTXT || !strings.HasSuffix(name, "."+lanService) {
			if p.SkipAnswer() != nil {
				break
			}
			continue
		}
		text, err := p.TXTResource()
		if err != nil {
			break
		}
		ttl := min(time.Duration(h.TTL)*time.Second, lanTTL)
		seen = collect(seen, text.TXT, ttl, from)
	}
	return asks, seen
}

// collect adds what one text record tells.
func collect(seen []sighting, text []string, ttl time.Duration, from netip.Addr) []sighting {
	for _, t := range text {
		t, ok := strings.CutPrefix(t, lanText)
		if !ok {
			continue
		}
		a, id, err := parseAddr(t)
		if err != nil || id.IsZero() || !nearby(a, from) {
			continue
		}
		i := slices.IndexFunc(seen, func(s sighting) bool { return s.id == id })
		if i < 0 {
			i, seen = len(seen), append(seen, sighting{id: id, ttl: ttl})
		}
		s := &seen[i]
		s.ttl = min(s.ttl, ttl)
		if addr := a.String(); len(s.addrs) < maxLANAddrs && !slices.Contains(s.addrs, addr) {
			s.addrs = append(s.addrs, addr)
		}
	}
	return seen
}

// nearby reports whether an address that was heard from may be dialled.
func nearby(a multiaddr.Multiaddr, from netip.Addr) bool {
	ip, err := manet.ToIP(a)
	if err != nil {
		return false // a name: who knows where it leads
	}
	addr, _ := netip.AddrFromSlice(ip) // an IP address has 4 or 16 bytes
	addr = addr.Unmap()
	return addr == from.Unmap() || addr.IsPrivate() || addr.Is4() && addr.IsLinkLocalUnicast()
}
