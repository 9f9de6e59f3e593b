package daemon

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/replicate"
)

// Origin is where a setting came from.
type Origin string

// The origins of settings, those that come before others first.
const (
	ByProgram  Origin = "program" // that the node is embedded in
	ByFlag     Origin = "flag"
	ByVariable Origin = "variable"
	ByFile     Origin = "file"
	ByDefault  Origin = "default"
)

// Setting is a setting as it is in force.
type Setting struct {
	Name  string `json:"name"`  // as in config.toml
	Value string `json:"value"` // where there may be many: with commas between
	From  Origin `json:"from"`  // who says so: "flag", "variable", "file" or "default", or "program" if the node is embedded in one
}

// setting is a field of a [Config] that flags, variables and the file can say.
type setting struct {
	name string
	one  *string
	many *[]string // instead of one
	none string    // what goes if it isn't said, where Complete leaves that open
}

// settings is all of them, in the order in which they are listed.
func (c *Config) settings() []setting {
	return []setting{
		{name: "http", one: &c.HTTP, none: DefaultHTTP + " or the next free port"},
		{name: "listen", many: &c.Listen},
		{name: "lan", one: &c.LAN},
		{name: "hidden", one: &c.Hidden},
		{name: "guests", one: &c.Guests, none: strconv.Itoa(replicate.DefaultGuests)},
		{name: "reserve", one: &c.Reserve, none: "the larger of 1 GiB and 10 %"},
		{name: "origins", many: &c.Origins},
		{name: "name", one: &c.Name},
		{name: "log", one: &c.Log},
	}
}

// text is a setting as a variable has it, "" if it isn't said.
func (s setting) text() string {
	if s.many != nil {
		return strings.Join(*s.many, ",")
	}
	return *s.one
}

// set takes a setting as a variable has it.
func (s setting) set(text string) {
	if s.many != nil {
		*s.many = strings.Split(text, ",")
		return
	}
	*s.one = text
}

// take takes over what another configuration says.
func (s setting) take(from setting) {
	if s.many != nil {
		*s.many = *from.many
		return
	}
	*s.one = *from.one
}

// variable is the environment variable of a setting.
func variable(name string) string { return "SENNIT_" + strings.ToUpper(name) }

// SettingNames is what can be set.
func SettingNames() (names []string) {
	for _, s := range new(Config).settings() {
		names = append(names, s.name)
	}
	return names
}

// Settings is what a configuration that was completed says.
func (c *Config) Settings() []Setting {
	var all []Setting
	for _, s := range c.settings() {
		out := Setting{Name: s.name, Value: s.text(), From: ByProgram}
		if out.Value == "" {
			out.Value = s.none
		}
		if from, ok := c.From[s.name]; ok {
			out.From = from
		}
		all = append(all, out)
	}
	return all
}

// config lists the settings with which this node was started.
func (d *daemon) config(*http.Request) (int, any, error) { return http.StatusOK, d.cfg.Settings(), nil }

// parseConfig reads the content of a config.toml.
func parseConfig(path string, content []byte) (file Config, err error) {
	meta, err := toml.Decode(string(content), &file)
	if err != nil {
		return file, sennit.Errorf(sennit.BadInput, "read %s: %w", path, err)
	}
	if len(meta.Undecoded()) > 0 {
		return file, sennit.Hint(sennit.Errorf(sennit.BadInput, "%s has the setting %q, which there isn't", path, meta.Undecoded()[0]),
			"settings are "+strings.Join(SettingNames(), ", "))
	}
	return file, nil
}

// Set sets a setting in a data directory's config.toml, or takes it out if the
// value is "". The rest of the file stays as it is, with comments and in its
// order. What a start would refuse is refused, and the file left alone.
func Set(data, name, value string) error {
	var said Config
	i := slices.IndexFunc(said.settings(), func(s setting) bool { return s.name == name })
	if i < 0 {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "there is no setting %q", name), "settings are "+strings.Join(SettingNames(), ", "))
	}
	line := ""
	if value != "" {
		s := said.settings()[i]
		s.set(value)
		var v any = value
		if s.many != nil {
			v = *s.many
		}
		b, err := toml.Marshal(map[string]any{name: v})
		if err != nil {
			return sennit.Errorf(sennit.BadInput, "%s can't be %.80q: %w", name, value, err)
		}
		line = strings.TrimSuffix(string(b), "\n")
	}
	path, err := configPath(data)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("read the settings", err)
	}
	text, err := edit(string(old), name, line)
	if err != nil {
		return sennit.Hint(sennit.Errorf(sennit.BadInput, "read %s: %w", path, err), "put the file right, or remove it")
	}
	file, err := parseConfig(path, []byte(text))
	if err != nil {
		return err
	}
	if err := file.checkAll(); err != nil || text == string(old) {
		return err
	}
	return replace(path, []byte(text))
}

// configPath is where the settings of a data directory are. It makes the
// directory if there is none, since one may say how a node is to start before
// the first start, and follows a link, which would be replaced otherwise.
func configPath(data string) (string, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return "", fileError("make the data directory", err)
	}
	if err := ours(data); err != nil {
		return "", err
	}
	path := filepath.Join(data, configFile)
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fileError("read the settings", err)
	}
	return real, nil
}

// checkAll checks settings, also those that are looked at only when they are
// used.
func (c *Config) checkAll() error {
	if c.HTTP != "" && c.HTTP != "off" {
		if _, err := doorAddr(c.HTTP); err != nil {
			return err
		}
	}
	if err := keys.CheckName(c.Name); err != nil {
		return err
	}
	return c.Complete()
}

// edit puts a line in the place of the statement that says a setting, or at
// the end if none does; "" takes the statement out. A comment behind a
// statement that is replaced stays.
func edit(text, name, line string) (string, error) {
	lines := strings.SplitAfter(text, "\n")
	for begin := 0; begin < len(lines); begin++ {
		if trimmed := strings.TrimSpace(lines[begin]); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		// A statement may have several lines. It ends where it first makes sense.
		end, key := begin, ""
		for ; ; end++ {
			if end == len(lines) {
				_, err := toml.Decode(text, new(map[string]any))
				return "", cmp.Or(err, errors.New("a statement doesn't end"))
			}
			var ok bool
			if key, ok = statement(strings.Join(lines[begin:end+1], "")); ok {
				break
			}
		}
		if key != name {
			begin = end
			continue
		}
		if was := strings.Join(lines[begin:end+1], ""); line != "" {
			line += behind(was)
		}
		return strings.Join(lines[:begin], "") + line + strings.Join(lines[end+1:], ""), nil
	}
	if line == "" {
		return text, nil
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n", nil
}

// statement tells what a whole statement sets, "" if that is a table.
func statement(text string) (key string, ok bool) {
	var all map[string]any
	meta, err := toml.Decode(text, &all)
	if err != nil {
		return "", false
	}
	if k := meta.Keys(); len(k) == 1 && len(k[0]) == 1 {
		key = k[0][0]
	}
	return key, true
}

// behind is the comment behind a statement, and how its line ends.
func behind(text string) string {
	body := strings.TrimRight(text, "\r\n")
	ending := text[len(body):]
	for i, r := range body {
		if r != '#' {
			continue
		}
		if _, ok := statement(body[:i]); ok { // else it is within the value
			return " " + body[i:] + ending
		}
	}
	return ending
}
