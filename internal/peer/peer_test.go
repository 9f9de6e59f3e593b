package peer_test

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2p "github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/sennit/sennit"
	"github.com/sennit/sennit/internal/peer"
)

// key is a host key, the same one for the same number.
func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), n))
}

func idOf(k ed25519.PrivateKey) peer.ID { return peer.ID(k.Public().(ed25519.PublicKey)) }

func TestIDIsLibp2ps(t *testing.T) {
	for n := range byte(20) {
		pub, err := crypto.UnmarshalEd25519PublicKey(key(n).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		want, err := libp2p.IDFromPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		id := idOf(key(n))
		if id.Peer() != want || id.String() != want.String() {
			t.Errorf("the peer id is %s, libp2p says %s", id, want)
		}
		if back, err := peer.FromPeer(want); err != nil || back != id {
			t.Errorf("from libp2p's: %s, %v", back, err)
		}
	}
}

func TestIDText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := peer.ID(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		text := id.String()
		if len(text) != 52 || !strings.HasPrefix(text, "12D3KooW") {
			t.Fatalf("%q has %d characters", text, len(text))
		}
		if back, err := peer.ParseID(text); err != nil || back != id {
			t.Fatalf("%s came back as %s: %v", text, back, err)
		}
		if peer.ID.IsZero(id) != (id == peer.ID{}) {
			t.Fatal("IsZero is wrong")
		}
	})
	good := idOf(key(1)).String()
	for name, text := range map[string]string{
		"nothing":         "",
		"a word":          "hello",
		"too short":       good[:51],
		"too long":        good + "1",
		"a wrong letter":  strings.Replace(good, "K", "0", 1),
		"a space":         " " + good,
		"an RSA key":      "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
		"a secp256k1 key": "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY",
		"a CID":           "bafzaajaiaejcbx3h7wavn4cdwxldvvq7mzrlyqzr2p5hxgc7t6xhncgn7u7mvmnp",
		"very long":       strings.Repeat("1", 1<<20),
	} {
		if id, err := peer.ParseID(text); sennit.CodeOf(err) != sennit.BadInput || len(err.Error()) > 300 {
			t.Errorf("%s: got %s, %v", name, id, err)
		}
	}
	if _, err := peer.FromPeer("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("a peer id without a key: %v", err)
	}
}

func TestParseAddr(t *testing.T) {
	id := idOf(key(1))
	for _, addr := range []string{
		"/ip4/192.0.2.7/udp/4001/quic-v1",
		"/ip4/192.0.2.7/tcp/4001",
		"/ip6/2001:db8::7/udp/4001/quic-v1",
		"/dns/example.org/tcp/4001",
		"/dns4/example.org/udp/4001/quic-v1",
	} {
		gotID, got, err := peer.ParseAddr(addr + "/p2p/" + id.String())
		if err != nil || gotID != id || got != addr {
			t.Errorf("%s: %s, %s, %v", addr, gotID, got, err)
		}
	}
	end := "/p2p/" + id.String()
	for _, tt := range []struct{ addr, text string }{
		{"", "not a multiaddr"},
		{"192.0.2.7:4001", "not a multiaddr"},
		{"/ip4/300.0.2.7/tcp/4001" + end, "not a multiaddr"},
		{"/ip4/192.0.2.7/tcp/4001", "does not end in /p2p/"},
		{"/ip4/192.0.2.7" + end, "of a kind"},
		{"/ip4/192.0.2.7/tcp/4001/ws" + end, "of a kind"},
		{"/ip4/192.0.2.7/udp/4001/webrtc-direct" + end, "of a kind"},
		{"/ip4/192.0.2.7/tcp/4001" + end + "/p2p-circuit" + end, "of a kind"},
		{"/dnsaddr/example.org" + end, "of a kind"},
		{end, "of a kind"},
		{"/ip4/192.0.2.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "does not hold an Ed25519 key"},
		{"/dns/" + strings.Repeat("a", 1<<20) + "/tcp/1" + end, "at most 320"},
	} {
		if _, _, err := peer.ParseAddr(tt.addr); sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), tt.text) || len(err.Error()) > 600 {
			t.Errorf("%.80s: %v, want %q", tt.addr, err, tt.text)
		}
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("/ip4/192.0.2.7/udp/4001/quic-v1/p2p/" + idOf(key(1)).String())
	f.Add("/dns4/x/tcp/0/p2p/1")
	f.Fuzz(func(t *testing.T, text string) {
		id, addr, err := peer.ParseAddr(text)
		if err != nil {
			if sennit.CodeOf(err) != sennit.BadInput {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		id2, addr2, err := peer.ParseAddr(addr + "/p2p/" + id.String())
		if err != nil || id2 != id || addr2 != addr {
			t.Fatalf("%q: %s %s came back as %s %s: %v", text, id, addr, id2, addr2, err)
		}
	})
}
