package daemon_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/peer"
)

// alone takes away the settings of the environment that the test runs in.
func alone(t *testing.T) {
	t.Helper()
	for _, name := range []string{"DATA", "HTTP", "LISTEN", "LAN", "HIDDEN", "GUESTS", "RESERVE", "NAME", "LOG"} {
		t.Setenv("SENNIT_"+name, "")
	}
}

func TestFlagsComeBeforeVariablesAndThoseBeforeTheFile(t *testing.T) {
	alone(t)
	const one, two, three = "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/3"
	file := `http = "file:1"
listen = ["` + one + `", "` + two + `"]
lan = "off"
hidden = "on"
guests = "1"
reserve = "1MB"
name = "file"
log = "error"
`
	variables := map[string]string{
		"SENNIT_HTTP": "env:1", "SENNIT_LISTEN": two + "," + three, "SENNIT_LAN": "on", "SENNIT_HIDDEN": "off", "SENNIT_GUESTS": "2", "SENNIT_RESERVE": "2MB", "SENNIT_NAME": "env", "SENNIT_LOG": "info",
	}
	flags := daemon.Config{HTTP: "flag:1", Listen: []string{three}, LAN: "off", Hidden: "on", Guests: "3", Reserve: "3MB", Name: "flag", Log: "debug"}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		name string
		file string
		env  map[string]string
		flag daemon.Config
		want daemon.Config
	}{
		{"nothing is said", "", nil, daemon.Config{},
			daemon.Config{Listen: peer.DefaultListen(), LAN: "on", Hidden: "off", Name: host, Log: "warn"}},
		{"the file", file, nil, daemon.Config{},
			daemon.Config{HTTP: "file:1", Listen: []string{one, two}, LAN: "off", Hidden: "on", Guests: "1", Reserve: "1MB", Name: "file", Log: "error"}},
		{"variables", file, variables, daemon.Config{},
			daemon.Config{HTTP: "env:1", Listen: []string{two, three}, LAN: "on", Hidden: "off", Guests: "2", Reserve: "2MB", Name: "env", Log: "info"}},
		{"flags", file, variables, flags, flags},
		{"flags alone", "", nil, flags, flags},
		{"some of each", `log = "error"`, map[string]string{"SENNIT_LAN": "off"}, daemon.Config{Name: "flag"},
			daemon.Config{Listen: peer.DefaultListen(), LAN: "off", Hidden: "off", Name: "flag", Log: "error"}},
	} {
		t.Run(one.name, func(t *testing.T) {
			dir := t.TempDir()
			if one.file != "" {
				write(t, filepath.Join(dir, "config.toml"), one.file)
			}
			for name, value := range one.env {
				t.Setenv(name, value)
			}
			got := one.flag
			got.Data, one.want.Data = dir, dir
			if err := got.Load(); err != nil {
				t.Fatal(err)
			}
			got.From = nil // the next test is about that
			if !reflect.DeepEqual(got, one.want) {
				t.Errorf("got %+v, want %+v", got, one.want)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	alone(t)
	for _, one := range []struct{ file, says string }{
		{`htpp = "x"`, `has the setting "htpp", which there isn't`},
		{"[http]\nport = 1", "incompatible types"},
		{`http = 7700`, "incompatible types"},
		{`http = "`, "config.toml"},
		{`lan = "maybe"`, `lan is "maybe"`},
		{`log = "loud"`, `log is "loud"`},
		{`reserve = "much"`, `"much" is not a size`},
		{`listen = ["nonsense"]`, `can't listen on "nonsense"`},
		{`listen = ["/ip4/127.0.0.1/tcp/1/ws"]`, "can't listen on"},
		{"\xff", "config.toml"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "config.toml"), one.file)
		cfg := daemon.Config{Data: dir}
		err := cfg.Load()
		if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), one.says) {
			t.Errorf("%s: %v (%s)", one.file, err, sennit.CodeOf(err))
		}
	}
}

func TestTheDataDirectoryIsWhereOneSaysOrWhereDataBelongs(t *testing.T) {
	alone(t)
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("XDG_DATA_HOME", "")
	expect := func(asked, want string) {
		t.Helper()
		if got, err := daemon.DataDir(asked); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	expect("", "/home/somebody/.local/share/sennit")
	t.Setenv("XDG_DATA_HOME", "not/absolute") // to be ignored, says the specification
	expect("", "/home/somebody/.local/share/sennit")
	t.Setenv("XDG_DATA_HOME", "/data")
	expect("", "/data/sennit")
	t.Setenv("SENNIT_DATA", "/env")
	expect("", "/env")
	expect("/flag", "/flag")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	expect("flag", filepath.Join(here, "flag"))

	t.Setenv("SENNIT_DATA", "")
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "")
	if dir, err := daemon.DataDir(""); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("without a home: %q, %v", dir, err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"": -1, "0": 0, "17": 17, "17B": 17, "5kB": 5000, "5 MB": 5e6, "2GB": 2e9, "1KiB": 1024, "3MiB": 3 << 20, "2GiB": 2 << 30, "1000000000MB": 1e15,
	} {
		if got, err := daemon.ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"much", "-1", "1.5GB", "GB", "1TB", "5gb", "99999999999999999999", "9223372036854775807GiB", "1 0", "0x10", "1e3"} {
		if got, err := daemon.ParseSize(text); sennit.CodeOf(err) != sennit.BadInput {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
}
