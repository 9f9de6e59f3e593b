package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func TestASettingIsSetAndTheRestOfTheFileStays(t *testing.T) {
	for _, one := range []struct{ name, file, setting, value, want string }{
		{"no file", "", "lan", "off", "lan = \"off\"\n"},
		{"at the end", "# mine\nlog = \"info\"\n", "lan", "off", "# mine\nlog = \"info\"\nlan = \"off\"\n"},
		{"no line's end", "log = \"info\"", "lan", "off", "log = \"info\"\nlan = \"off\"\n"},
		{"in its place", "# mine\n\nlan = \"on\"\n# log\nlog = \"info\"\n", "lan", "off", "# mine\n\nlan = \"off\"\n# log\nlog = \"info\"\n"},
		{"a comment behind", "lan = \"on\"  # at home\nlog = \"info\"\n", "lan", "off", "lan = \"off\" # at home\nlog = \"info\"\n"},
		{"a mark in the value", "name = \"a # b\" # c\n", "name", "d", "name = \"d\" # c\n"},
		{"Windows lines", "lan = \"on\"\r\nlog = \"info\"\r\n", "lan", "off", "lan = \"off\"\r\nlog = \"info\"\r\n"},
		{"a quoted name", "\"lan\" = 'on'\n", "lan", "off", "lan = \"off\"\n"},
		{"what only looks like it", "name = \"\"\"\nlan = 'x'\"\"\"\n", "lan", "off", "name = \"\"\"\nlan = 'x'\"\"\"\nlan = \"off\"\n"},
		{"commented out", "# lan = \"on\"\n", "lan", "off", "# lan = \"on\"\nlan = \"off\"\n"},
		{"many lines", "listen = [\n  \"/ip4/127.0.0.1/tcp/1\", # one\n]  # all\nlan = \"on\"\n", "listen", "/ip4/127.0.0.1/tcp/2,/ip4/127.0.0.1/tcp/3",
			"listen = [\"/ip4/127.0.0.1/tcp/2\", \"/ip4/127.0.0.1/tcp/3\"] # all\nlan = \"on\"\n"},
		{"quotes", "", "name", `a "b" \c`, "name = \"a \\\"b\\\" \\\\c\"\n"},
		{"out", "# a\nlan = \"on\" # b\n# c\n", "lan", "", "# a\n# c\n"},
		{"out of many lines", "lan = \"on\"\nlisten = [\n\"/ip4/127.0.0.1/tcp/1\"\n]\nlog = \"info\"\n", "listen", "", "lan = \"on\"\nlog = \"info\"\n"},
		{"out of nothing", "lan = \"on\"\n", "log", "", "lan = \"on\"\n"},
		{"a bad value put right", "lan = \"maybe\"\n", "lan", "on", "lan = \"on\"\n"},
	} {
		t.Run(one.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "config.toml")
			if one.file != "" {
				write(t, path, one.file)
			}
			err := daemon.Set(dir, one.setting, one.value)
			got, _ := os.ReadFile(path)
			if err != nil || string(got) != one.want {
				t.Errorf("%q, %v; want %q", got, err, one.want)
			}
		})
	}
}

func TestASettingThatAStartWouldRefuseLeavesTheFileAlone(t *testing.T) {
	const file = "# mine\nlan = \"off\"\n"
	for _, one := range []struct{ file, name, value, says string }{
		{file, "htpp", "off", `there is no setting "htpp"`},
		{file, "http", "nonsense", "is not an address to listen on"},
		{file, "http", "0.0.0.0:7700", "can be reached by other machines"},
		{file, "lan", "maybe", `lan is "maybe"`},
		{"lan = \"maybe\"\n", "lan", "maybe", `lan is "maybe"`},
		{file, "hidden", "yes", `hidden is "yes"`},
		{file, "guests", "0", `guests is "0"`},
		{file, "reserve", "much", `"much" is not a size`},
		{file, "name", "né", "can't name a device"},
		{file, "log", "loud", `log is "loud"`},
		{file, "listen", "/ip4/127.0.0.1", "can't listen on"},
		{"lan = \"off\n", "log", "info", "config.toml"},
		{"[lan]\nx = 1\n", "log", "info", "config.toml"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "config.toml")
		write(t, path, one.file)
		err := daemon.Set(dir, one.name, one.value)
		if sennit.CodeOf(err) != sennit.BadInput || !strings.Contains(err.Error(), one.says) {
			t.Errorf("%s %s: %v (%s)", one.name, one.value, err, sennit.CodeOf(err))
		}
		if got, _ := os.ReadFile(path); string(got) != one.file {
			t.Errorf("%s %s: the file is %q", one.name, one.value, got)
		}
		if all, _ := os.ReadDir(dir); len(all) != 1 {
			t.Errorf("%s %s: it left %v", one.name, one.value, all)
		}
	}
	other := t.TempDir()
	write(t, filepath.Join(other, "letter.txt"), "dear")
	if err := daemon.Set(other, "lan", "off"); sennit.CodeOf(err) != sennit.BadInput {
		t.Errorf("a directory of something else: %v", err)
	}
}

func TestASettingsFileThatIsALinkStaysOne(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "sennit.toml")
	write(t, elsewhere, "lan = \"on\"\n")
	link := filepath.Join(dir, "config.toml")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Skip("no links here")
	}
	if err := daemon.Set(dir, "lan", "off"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(elsewhere); string(got) != "lan = \"off\"\n" {
		t.Errorf("the file is %q", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", info, err)
	}
}

func TestSettingsTellWhereTheyComeFrom(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.toml"), "log = \"error\"\nlan = \"off\"\nname = \"file\"\n")
	t.Setenv("SENNIT_LAN", "on")
	t.Setenv("SENNIT_NAME", "variable")
	cfg := daemon.Config{Data: dir, Name: "flag"}
	if err := cfg.Load(); err != nil {
		t.Fatal(err)
	}
	want := map[string]daemon.Setting{
		"http":   {Name: "http", Value: daemon.DefaultHTTP + " or the next free port", From: daemon.ByDefault},
		"lan":    {Name: "lan", Value: "on", From: daemon.ByVariable},
		"hidden": {Name: "hidden", Value: "off", From: daemon.ByDefault},
		"name":   {Name: "name", Value: "flag", From: daemon.ByFlag},
		"log":    {Name: "log", Value: "error", From: daemon.ByFile},
	}
	all := cfg.Settings()
	for _, s := range all {
		if w, ok := want[s.Name]; ok && s != w {
			t.Errorf("%+v, want %+v", s, w)
		}
	}
	if len(all) != len(daemon.SettingNames()) {
		t.Errorf("%d of %d settings", len(all), len(daemon.SettingNames()))
	}
}
