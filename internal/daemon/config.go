package daemon

import (
	"cmp"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"

	httpdoor "github.com/sennit/sennit/internal/door/http"
	"github.com/sennit/sennit/internal/peer"
	"github.com/sennit/sennit/internal/replicate"
)

// DefaultHTTP is where the HTTP door listens unless it is told otherwise. If
// the port is taken, the next ones are tried.
const DefaultHTTP = "127.0.0.1:7700"

// Config is what is needed to start. Everything else is state of the node.
// [Config.Load] completes and checks it.
type Config struct {
	Data    string   `toml:"-"`       // data directory
	HTTP    string   `toml:"http"`    // address of the HTTP door; "" is DefaultHTTP or a port near it; "off"
	Listen  []string `toml:"listen"`  // multiaddrs for peers; empty: QUIC and TCP on a free port, the same after a restart
	LAN     string   `toml:"lan"`     // "on" or "off": look for nodes on the local network
	Hidden  string   `toml:"hidden"`  // "on" or "off": peers are not to tell others where this node is
	Guests  string   `toml:"guests"`  // how many nodes that this one doesn't follow it serves at a time; "" is replicate.DefaultGuests
	Reserve string   `toml:"reserve"` // bytes of disk that stay free, such as "2GiB"; "" is max(1 GiB, 10 %)
	Origins []string `toml:"origins"` // of other sites whose pages may use the HTTP door, such as "https://app.example"
	Name    string   `toml:"name"`    // of this device, for a new identity
	Log     string   `toml:"log"`     // "error", "warn", "info" or "debug"

	From map[string]Origin `toml:"-"` // where each setting came from, by name; Load tells it

	Notify *Notifier `toml:"-"` // the service manager that wants to hear how the node is; default none

	Now    func() time.Time `toml:"-"` // default time.Now
	Logger *slog.Logger     `toml:"-"` // default: text on standard error, of the level Log
	Fatal  func(error)      `toml:"-"` // is told that the disk failed, and must not return; default: it ends the process
}

// DataDir tells the data directory: what was asked for, SENNIT_DATA, or the
// place that the XDG base directory specification gives.
func DataDir(asked string) (string, error) {
	for _, dir := range []string{asked, os.Getenv("SENNIT_DATA")} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sennit"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", sennit.Hint(sennit.Errorf(sennit.BadInput, "there is no home directory to keep data in: %w", err),
			"name a directory: --data DIR or SENNIT_DATA")
	}
	return filepath.Join(home, ".local", "share", "sennit"), nil
}

// Load completes a configuration that has what flags say: from SENNIT_*
// variables first, then from config.toml in the data directory.
func (c *Config) Load() error {
	path := filepath.Join(c.Data, configFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sennit.Errorf(sennit.BadInput, "read %s: %w", path, err)
	}
	file, err := parseConfig(path, b)
	if err != nil {
		return err
	}
	c.From = map[string]Origin{}
	theirs := file.settings()
	for i, s := range c.settings() {
		env := os.Getenv(variable(s.name))
		switch {
		case s.text() != "":
			c.From[s.name] = ByFlag
		case env != "":
			s.set(env)
			c.From[s.name] = ByVariable
		case theirs[i].text() != "":
			s.take(theirs[i])
			c.From[s.name] = ByFile
		default:
			c.From[s.name] = ByDefault
		}
	}
	return c.Complete()
}

// Complete sets what was not said to the defaults, and checks it all.
func (c *Config) Complete() error {
	c.LAN = cmp.Or(c.LAN, "on")
	c.Hidden = cmp.Or(c.Hidden, "off")
	c.Name = cmp.Or(c.Name, hostname())
	c.Log = cmp.Or(c.Log, "warn")
	if len(c.Listen) == 0 {
		c.Listen = peer.DefaultListen()
	}
	return c.check()
}

func (c *Config) check() error {
	if c.LAN != "on" && c.LAN != "off" {
		return sennit.Errorf(sennit.BadInput, "lan is %q; it can be on or off", c.LAN)
	}
	if c.Hidden != "on" && c.Hidden != "off" {
		return sennit.Errorf(sennit.BadInput, "hidden is %q; it can be on or off", c.Hidden)
	}
	if _, err := c.guests(); err != nil {
		return err
	}
	switch c.Log {
	case "error", "warn", "info", "debug":
	default:
		return sennit.Errorf(sennit.BadInput, "log is %q; it can be error, warn, info or debug", c.Log)
	}
	for _, o := range c.Origins {
		if err := httpdoor.ParseOrigin(o); err != nil {
			return err
		}
	}
	for _, a := range c.Listen {
		// The same, but for the id at its end, as an address to dial.
		if _, _, err := peer.ParseAddr(a + "/p2p/" + peer.ID{1}.String()); err != nil {
			return sennit.Errorf(sennit.BadInput, "can't listen on %q: want an IP address as /ip4/ADDRESS or /ip6/ADDRESS, then /udp/PORT/quic-v1 or /tcp/PORT", a)
		}
	}
	_, err := ParseSize(c.Reserve)
	return err
}

// maxGuests is the most that guests can be: package peer closes connections beyond.
const maxGuests = 96

// guests is how many nodes that this one doesn't follow it serves at a time.
func (c *Config) guests() (int, error) {
	if c.Guests == "" {
		return replicate.DefaultGuests, nil
	}
	n, err := strconv.Atoi(c.Guests)
	if err != nil || n < 1 || n > maxGuests {
		return 0, sennit.Errorf(sennit.BadInput, "guests is %q; it can be 1 to %d", c.Guests, maxGuests)
	}
	return n, nil
}

// hostname names this device where its owner gives no name: printable ASCII,
// as the records of devices want it.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "device"
	}
	name = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, name)
	return name[:min(len(name), 64)]
}

// ParseSize reads a number of bytes with an optional unit: B, kB, MB, GB, KiB,
// MiB, GiB. "" is -1: not said.
func ParseSize(text string) (int64, error) {
	if text == "" {
		return -1, nil
	}
	units := []struct {
		name string
		size int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		if digits, ok := strings.CutSuffix(text, u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil || n < 0 || n > (1<<62)/u.size {
				break
			}
			return n * u.size, nil
		}
	}
	return 0, sennit.Errorf(sennit.BadInput, "%q is not a size: write a number of bytes, or one with a unit such as 500MB or 2GiB", text)
}
