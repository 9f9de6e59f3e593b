package wire

import (
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/sennit/sennit"
)

// Bounds of statements that aren't logged.
const (
	MaxLive       = sennit.MaxMessage // bytes of a live message's body
	MaxLiveExpiry = 60_000            // milliseconds: sennit.MaxMessageLife
	MaxLink       = 300               // bytes of an invitation link
	MaxLinkAddrs  = 3
	MaxLinkAddr   = 128     // bytes of each
	maxLinkUntil  = 1 << 40 // minutes since 1970
)

// LiveMessage is presence, a cursor, and the like: signed, delivered to
// whoever watches the path, never logged. Its signature travels after it.
//
//	'V' 1 | space hash | path | principal hash | device key | clock u64 | expires uvarint | type text | body bytes
type LiveMessage struct {
	Space   sennit.Space
	Path    sennit.Path
	Author  sennit.Principal
	Clock   uint64 // as in a header
	Expires uint64 // milliseconds after the clock, at most MaxLiveExpiry
	Type    string
	Body    []byte
}

// Bytes is the message's encoding, which is signed.
func (m *LiveMessage) Bytes() []byte {
	dst := append([]byte{tagLive, Format}, m.Space[:]...)
	dst = append(appendBytes(dst, m.Path), m.Author.Space[:]...)
	dst = binary.BigEndian.AppendUint64(append(dst, m.Author.Device[:]...), m.Clock)
	dst = appendBytes(binary.AppendUvarint(dst, m.Expires), m.Type)
	return appendBytes(dst, m.Body)
}

// DecodeLiveMessage decodes a live message without its signature.
func DecodeLiveMessage(b []byte) (*LiveMessage, error) {
	r := reader{b: b}
	m := r.liveMessage()
	return m, r.end("live message")
}

func (r *reader) liveMessage() *LiveMessage {
	m := new(LiveMessage)
	r.tag(tagLive, "live message")
	m.Space, m.Path = sennit.Space(r.hash()), r.path()
	m.Author = sennit.Principal{Space: sennit.Space(r.hash()), Device: sennit.Device(r.hash())}
	m.Clock, m.Expires = r.u64(), r.uvarint(MaxLiveExpiry)
	m.Type, m.Body = string(r.text(sennit.MaxType)), r.bytes(MaxLive)
	if m.Path.Reserved() {
		r.fail("live message: a reserved place")
	}
	return m
}

// HostCert says that a host (a transport key) speaks for a device. The device
// signs it; the transport proves the host key, so a copied certificate is of
// no use to anybody else.
//
//	'H' 1 | space hash | device key | host key | until u64
type HostCert struct {
	Author sennit.Principal
	Host   [32]byte
	Until  uint64 // milliseconds since 1970
}

// HostCertLen is the length of an encoded [HostCert].
const HostCertLen = 2 + 32 + 32 + 32 + 8

// Bytes is the certificate's encoding, which is signed.
func (c *HostCert) Bytes() []byte {
	dst := append([]byte{tagHost, Format}, c.Author.Space[:]...)
	dst = append(append(dst, c.Author.Device[:]...), c.Host[:]...)
	return binary.BigEndian.AppendUint64(dst, c.Until)
}

func (r *reader) hostCert() (c HostCert) {
	r.tag(tagHost, "host certificate")
	c.Author = sennit.Principal{Space: sennit.Space(r.hash()), Device: sennit.Device(r.hash())}
	c.Host, c.Until = r.hash(), r.u64()
	return c
}

// DecodeHostCert decodes a host certificate without its signature.
func DecodeHostCert(b []byte) (HostCert, error) {
	r := reader{b: b}
	c := r.hostCert()
	return c, r.end("host certificate")
}

// Redeem is what an invitee says to use an invitation. The one-time key of the
// link signs it, which binds the invitation to this identity.
//
//	'R' 1 | invitation key | inviter space hash | invitee space hash | invitee device key
type Redeem struct {
	Invitation [32]byte // public half of the link's one-time key
	Inviter    sennit.Space
	Invitee    sennit.Principal
}

// Bytes is the statement's encoding, which is signed.
func (d *Redeem) Bytes() []byte {
	dst := append([]byte{tagRedeem, Format}, d.Invitation[:]...)
	dst = append(append(dst, d.Inviter[:]...), d.Invitee.Space[:]...)
	return append(dst, d.Invitee.Device[:]...)
}

// DecodeRedeem decodes a redeem statement without its signature.
func DecodeRedeem(b []byte) (Redeem, error) {
	r := reader{b: b}
	d := r.redeem()
	return d, r.end("redeem statement")
}

func (r *reader) redeem() (d Redeem) {
	r.tag(tagRedeem, "redeem statement")
	d.Invitation, d.Inviter = r.hash(), sennit.Space(r.hash())
	d.Invitee = sennit.Principal{Space: sennit.Space(r.hash()), Device: sennit.Device(r.hash())}
	return d
}

// Link is an invitation: whom to reach, where, and the seed of the one-time
// key that opens the door. Its text form is "sennit:" and the base64url of
//
//	1 | space hash | host key | seed 16 bytes | until uvarint | addrs list of bytes | open path | check 4 bytes
//
// where check is the beginning of the SHA-256 of what precedes it.
type Link struct {
	Space sennit.Space // the inviter's
	Host  [32]byte     // the inviter's transport key
	Seed  [16]byte
	Until uint64   // minutes since 1970
	Addrs [][]byte // binary multiaddrs without the host
	Open  sennit.Path
}

// LinkScheme starts the text form of a [Link].
const LinkScheme = "sennit:"

// Text is the text form. It fails with TooLarge if the link would be longer
// than MaxLink, and never makes one that can't be read.
func (l *Link) Text() (string, error) {
	if l.Until > maxLinkUntil {
		return "", sennit.Errorf(sennit.BadInput, "a link can't last until minute %d", l.Until)
	}
	b := append(append([]byte{Format}, l.Space[:]...), l.Host[:]...)
	b = binary.AppendUvarint(append(b, l.Seed[:]...), l.Until)
	b = binary.AppendUvarint(b, uint64(len(l.Addrs)))
	if len(l.Addrs) > MaxLinkAddrs {
		return "", sennit.Errorf(sennit.TooLarge, "%d addresses; a link has at most %d", len(l.Addrs), MaxLinkAddrs)
	}
	for _, a := range l.Addrs {
		if len(a) > MaxLinkAddr {
			return "", sennit.Errorf(sennit.TooLarge, "an address of %d bytes; a link has room for %d", len(a), MaxLinkAddr)
		}
		b = appendBytes(b, a)
	}
	if _, err := sennit.ParsePath(string(l.Open)); err != nil {
		return "", err
	}
	b = appendBytes(b, l.Open)
	check := sum(b)
	text := LinkScheme + base64.RawURLEncoding.EncodeToString(append(b, check[:4]...))
	if len(text) > MaxLink {
		return "", sennit.Errorf(sennit.TooLarge, "the link would have %d bytes; at most %d are allowed", len(text), MaxLink)
	}
	return text, nil
}

// ParseLink reads the text form.
func ParseLink(text string) (*Link, error) {
	bad := func(why string) error {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "this is not a whole invitation link: %s", why),
			"copy the link again, all of it, from "+LinkScheme+" to its end")
	}
	body, ok := strings.CutPrefix(strings.TrimSpace(text), LinkScheme)
	if !ok {
		return nil, bad("it doesn't start with " + LinkScheme)
	}
	if len(LinkScheme)+len(body) > MaxLink {
		return nil, bad("it is too long")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(b) < 4 || strings.ContainsAny(body, "\r\n") {
		return nil, bad("a character is missing or doesn't belong there")
	}
	b, check := b[:len(b)-4], b[len(b)-4:]
	if want := sum(b); string(want[:4]) != string(check) {
		return nil, bad("it was altered or cut off")
	}
	r := reader{b: b}
	l := new(Link)
	if v := r.u8(); v != Format {
		return nil, sennit.Hint(sennit.Errorf(sennit.Unsupported, "the link has format %d; this program reads format %d", v, Format),
			"install a newer version")
	}
	l.Space, l.Host = sennit.Space(r.hash()), r.hash()
	copy(l.Seed[:], r.take(16))
	l.Until = r.uvarint(maxLinkUntil)
	for range r.count(MaxLinkAddrs, 1) {
		l.Addrs = append(l.Addrs, r.bytes(MaxLinkAddr))
	}
	l.Open = r.path()
	return l, r.end("invitation link")
}
