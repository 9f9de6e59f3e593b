package wire_test

import "testing"

// Each decoder is fuzzed from encodings of random valid values.

func FuzzOp(f *testing.F)          { fuzz(f, "op") }
func FuzzPut(f *testing.F)         { fuzz(f, "put") }
func FuzzDel(f *testing.F)         { fuzz(f, "del") }
func FuzzAdd(f *testing.F)         { fuzz(f, "add") }
func FuzzAppend(f *testing.F)      { fuzz(f, "append") }
func FuzzText(f *testing.F)        { fuzz(f, "text") }
func FuzzSnap(f *testing.F)        { fuzz(f, "snap") }
func FuzzGrant(f *testing.F)       { fuzz(f, "grant") }
func FuzzRevoke(f *testing.F)      { fuzz(f, "revoke") }
func FuzzMember(f *testing.F)      { fuzz(f, "member") }
func FuzzKey(f *testing.F)         { fuzz(f, "key") }
func FuzzInception(f *testing.F)   { fuzz(f, "inception") }
func FuzzKeyEvent(f *testing.F)    { fuzz(f, "key-event") }
func FuzzEvidence(f *testing.F)    { fuzz(f, "evidence") }
func FuzzLog(f *testing.F)         { fuzz(f, "log") }
func FuzzHeader(f *testing.F)      { fuzz(f, "header") }
func FuzzIDProof(f *testing.F)     { fuzz(f, "id-proof") }
func FuzzForkProof(f *testing.F)   { fuzz(f, "fork-proof") }
func FuzzRun(f *testing.F)         { fuzz(f, "run") }
func FuzzStored(f *testing.F)      { fuzz(f, "stored") }
func FuzzLiveMessage(f *testing.F) { fuzz(f, "live-message") }
func FuzzHostCert(f *testing.F)    { fuzz(f, "host-certificate") }
func FuzzRedeem(f *testing.F)      { fuzz(f, "redeem") }
func FuzzLink(f *testing.F)        { fuzz(f, "link") }

// FuzzDecodeFrame starts from messages of every type.
func FuzzDecodeFrame(f *testing.F) {
	for _, m := range messages() {
		seed(f, formatOf(f, "message-"+m.name))
	}
	f.Fuzz(func(t *testing.T, b []byte) { judge(t, formatOf(t, "message-hello"), b) })
}

// FuzzDecodeBlobFrame does the same for the blob protocol.
func FuzzDecodeBlobFrame(f *testing.F) {
	for _, m := range blobMessages() {
		seed(f, formatOf(f, "blob-"+m.name))
	}
	f.Fuzz(func(t *testing.T, b []byte) { judge(t, formatOf(t, "blob-want"), b) })
}

func fuzz(f *testing.F, name string) {
	format := formatOf(f, name)
	seed(f, format)
	f.Fuzz(func(t *testing.T, b []byte) { judge(t, format, b) })
}

func seed(f *testing.F, format format) {
	for seed := range 24 {
		b, err := format.encode(format.gen.Example(seed))
		if err != nil {
			f.Fatal(err)
		}
		if len(b) <= 8<<10 { // the fuzzer gets nowhere with long ones
			f.Add(b)
		}
	}
}
