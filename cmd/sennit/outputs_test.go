package main

import (
	"encoding/json"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/files"
	"github.com/sennit/sennit/internal/replicate"
)

// Output is something that a command prints with --json.
type Output struct {
	With    string // an argument has to end in this; "" if none has to
	Without string // no argument may end in this; "" if any may
	Lines   bool   // any number of these, a line each; else one
	Says    string // what people have to know beside it
	Example any    // its type says what is printed; nil: not JSON
}

const (
	aSpace  = "nzkqj5npdmn5s24cbzfkxgwpq4awgazynsrgivflsx6jqvalyg5q"
	bSpace  = "x5c3w7m2kqv6yhd4tjnr6lfa3ozbgeu5ipsq2dk7wvmxnhc4eyta"
	aDevice = "q4awgazynsrgivflsx6jqvalyg5qnzkqj5npdmn5s24cbzfkxgwp"
	bHost   = "h4tjnr6lfa3ozbgeu5ipsq2dk7wvmxnhc4eytax5c3w7m2kqv6yd"
	aHash   = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	aLog    = "xfqe54zvdt7pueoagwdgleaadheh5cuinwd4ikwt2ze7k6wk6i5q"
	aCursor = "4889426423852522903-5"
	aDoor   = "http://127.0.0.1:7700"
	anAddr  = "/ip4/192.0.2.1/tcp/4001"
	twelve  = "abandon ability able about above absent absorb abstract absurd abuse access accident"
	text    = "text/plain; charset=utf-8"
)

var (
	noon    = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	version = written{aLog + "-7"}
	hello   = "hello, world"

	finding = daemon.Finding{What: "the recovery words were not written down yet: if this disk is lost, so is the identity", About: "words", Do: "sennit id words"}
	follow  = daemon.Follow{
		Space: bSpace, Name: "bob", Prefixes: []sennit.Path{""}, Mode: "live", Host: bHost, Addrs: []string{anAddr},
		Hosts: []daemon.Host{{Host: bHost, Addrs: []string{anAddr}, Chosen: true, Good: noon, State: "connected"}},
		State: "live", Ops: 1200, Peers: 1,
	}
	invitation = replicate.Invite{ID: aHash, Uses: 5, Used: 1, Expires: noon.AddDate(0, 0, 7), Reads: "posts", Created: noon, By: []string{bSpace}}
	token      = daemon.Token{ID: aHash[:16], Prefixes: []string{"/" + aSpace + "/notes"}, May: []string{"read", "write"}, Created: noon}
	report     = files.Report{Files: 12, Bytes: 48_000_000, Unchanged: 3, Skipped: []files.Skip{{Path: "link", Why: "it is a symlink"}}, Seconds: 1.25}
)

// Outputs is what each command prints with --json. One that has none prints
// nothing.
var Outputs = map[string][]Output{
	"up": {{Says: "It comes when the node is ready.", Example: daemon.Ready{
		Ready: true, Space: aSpace, Device: aDevice, HTTP: aDoor, Open: aDoor + "/?key=MFRGGZDF",
		Peer: []string{anAddr}, PID: 4711,
	}}},
	"init": {{Example: initialised{aDevice, aSpace, twelve}}},
	"open": {{Example: daemon.Opened{Open: aDoor + "/?key=MFRGGZDF"}}},
	"status": {
		{Without: "--check", Example: daemon.Status{
			Version: "v1.0.0", Space: aSpace, Device: aDevice, HTTP: aDoor, Peer: []string{anAddr},
			PID: 4711, Since: noon, Disk: daemon.Usage{Size: 500e9, Free: 200e9, Reserve: 50e9}, Store: 2_100_000, Spaces: 2, Ops: 340,
			Peers:    []daemon.Peer{{Host: bHost, Space: bSpace, Addr: anAddr, Since: noon, Synced: 2, Spaces: 2}},
			Blobs:    daemon.Blobs{Held: 48_000_000, Missing: 1, Bytes: 90_000, Pending: []daemon.Pending{{Space: bSpace, Path: "pictures/cat", Size: 90_000, Why: "nobody has it"}}},
			Warnings: []daemon.Finding{finding},
		}},
		{With: "--check", Says: "The exit code says the same.", Example: verdict{warning, []string{finding.What}, []checked{{Name: "node"}, {"words", warning, finding.What, finding.Do}}}},
	},
	"doctor":       {{Says: "If anything is wrong the exit code is 1, and an error follows.", Example: examined{[]daemon.Finding{finding}}}},
	"config show":  {{Example: shownConfig{true, []daemon.Setting{{Name: "reserve", Value: "500MB", From: daemon.ByFile}}}}},
	"config set":   {{Example: changedConfig{daemon.Setting{Name: "reserve", Value: "500MB", From: daemon.ByFile}, true}}},
	"config unset": {{Example: changedConfig{daemon.Setting{Name: "reserve", Value: "the larger of 1 GiB and 10 %", From: daemon.ByDefault}, false}}},
	"version":      {{Example: build{"v1.0.0", "0cadcbb8672b982121c6596d8fbb56f307967f28", "go1.26", "linux/amd64", schema}}},
	"completion":   {{Says: "The script, the same as without `--json`."}},
	"man": {
		{Without: "--dir", Example: page{"sennit-get.1", ".TH SENNIT-GET 1\n"}},
		{With: "--dir", Example: pages{[]string{"sennit.1", "sennit-get.1"}}},
	},
	"get": {
		{Without: "/", Says: "It is of kind \"set\", and has no `cursor`; the rest is as `sennit watch` prints it.", Example: change{
			Path: "/me/notes/hello", Kind: "set", Value: json.RawMessage(`"hello, world"`), Type: text, Author: aSpace, Version: aLog + "-7", Time: timeText(noon),
		}},
		{With: "/", Says: "It is the document that is there, in one line.", Example: json.RawMessage(`{"serves":4,"needs":["peas","mint"]}`)},
	},
	"set":    {{Example: version}},
	"patch":  {{Example: version}},
	"add":    {{Example: version}},
	"append": {{Example: version}},
	"rm":     {{Example: version}},
	"ls": {
		{Without: "--watch", Lines: true, Says: "There is one for each child.", Example: entry{"notes", false, true}},
		{With: "--watch", Lines: true, Says: "It comes each time that there are other children.", Example: []entry{{"notes", false, true}}},
	},
	"watch": {{Lines: true, Says: "There is one for each value, then one that has `live`, then one for each change. One of kind \"reset\" says that what came before is void: the values come again.", Example: change{
		Path: "/me/pictures/cat", Kind: "set", Blob: &blob{aHash, 90_000}, Type: "image/png", Author: aSpace, Version: aLog + "-7", Time: timeText(noon), Cursor: aCursor,
	}}},
	"live":   {{Example: sent{true}}},
	"digest": {{Example: digested{aCursor, aHash, 340}}},
	"history": {{Lines: true, Says: "There is one for each change, the newest first.", Example: daemon.Past{
		Kind: "set", Path: "/me/notes/hello", Shown: true, Value: &hello, Size: 12, Type: text, Author: aSpace, Version: aLog + "-7", Time: noon,
	}}},
	"undo":    {{Example: daemon.Undone{Changed: 1}}},
	"du":      {{Example: daemon.Used{Path: "/me/pictures", Values: 3, Bytes: 48_000_000, Blobs: 47_990_000, Here: 47_900_000}}},
	"forks":   {{Example: []daemon.Fork{{Space: bSpace, Author: bSpace, Device: bHost, Log: aLog, Class: "data", Apart: 17, Signed: noon, Found: noon.Add(time.Hour)}}}},
	"collect": {{Example: collected{5000, 1200, 2, 48_000_000, 41_000_000, true}}},
	"ops": {
		{Without: "--push", Says: "commits as they were signed, the same as without `--json`."},
		{With: "--push", Example: daemon.Pushed{Space: bSpace, New: 12}},
	},
	"gen":    {{Example: generated{10_000}}},
	"import": {{Example: report}},
	"export": {{Example: report}},
	"sync": {
		{Lines: true, Says: "There is one for each thing that it does.", Example: files.Event{Path: "todo.txt", Did: files.Conflicted, Copy: "todo.conflict-20260701-120000.txt"}},
		{With: "--once", Says: "It is the sum, and comes last.", Example: report},
	},
	"follow":        {{Example: follow}},
	"unfollow":      nil,
	"follows":       {{Example: []daemon.Follow{follow}}},
	"invite new":    {{Example: daemon.Invited{Invite: invitation, Link: "sennit:..."}}},
	"invite ls":     {{Example: []replicate.Invite{invitation}}},
	"invite revoke": nil,
	"join":          {{Example: daemon.Joined{Space: bSpace, Name: "bob", Ops: 1200, Whole: true}}},
	"id show":       {{Example: daemon.Identity{Space: aSpace, Device: aDevice, Devices: []daemon.Device{{Device: aDevice, Name: "kitchen", Added: noon}}}}},
	"id words":      {{Example: recovery{twelve}}},
	"token new":     {{Example: newToken{token, "snt_..."}}},
	"token ls":      {{Example: []daemon.Token{token}}},
	"token revoke":  nil,
	"allow":         {{Example: version}},
	"revoke":        {{Example: version}},
	"rules":         {{Example: []daemon.Rule{{ID: aHash + "-0", Prefix: "/" + aSpace + "/shared", Who: bSpace, May: []string{"read", "write"}, Author: aSpace}}}},
}

// Failure is what every command that fails prints to standard error.
var Failure = failure{fault{sennit.Unreachable, "no node runs on /home/ana/.local/share/sennit", "start it: sennit up (another data directory: --data DIR)"}}
