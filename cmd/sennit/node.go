package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
	"github.com/sennit/sennit/internal/daemon"
	"github.com/sennit/sennit/internal/replicate"
)

// schema is the version of what the commands print with --json. Members may be
// added to it; one that is taken away or changes its meaning makes a new one (docs/output.md).
const schema = 1

func (a *app) up() *cobra.Command {
	var cfg daemon.Config
	var noOpen bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "run a node until it is interrupted",
		Long: `Runs a node in the foreground. Makes an identity if the data directory has none.
When it is ready it prints where to go; with --json, one line:
{"ready":true,"space","device","http","open","peer":[...],"pid"}

The settings can also stand in config.toml in the data directory, by the names
of the flags: see sennit config set. Flags come before variables, and variables
before the file.

A service manager that sets NOTIFY_SOCKET, such as systemd, is told when the node is
ready and when it stops; with WATCHDOG_USEC also, as long as it answers, that it is
well.`,
		Example: "  sennit up\n  sennit up --http 127.0.0.1:0 --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Data, err = daemon.DataDir(a.data); err != nil {
				return err
			}
			if err := cfg.Load(); err != nil {
				return err
			}
			cfg.Notify = daemon.ServiceManager()
			return daemon.Run(cmd.Context(), cfg, func(r daemon.Ready, _ sennit.Bus) { a.ready(r, noOpen) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.HTTP, "http", "", "`ADDRESS` of the HTTP door, or off (SENNIT_HTTP; default "+daemon.DefaultHTTP+" or the next free port)")
	f.StringArrayVar(&cfg.Listen, "listen", nil, "`MULTIADDR` for peers, repeatable (SENNIT_LISTEN; default QUIC and TCP on a free port, which is kept)")
	f.StringVar(&cfg.LAN, "lan", "", "look for nodes on the local network, `STATE`: on or off (SENNIT_LAN; default on)")
	f.StringVar(&cfg.Hidden, "hidden", "", "whether peers keep to themselves where this node is, `STATE`: on or off (SENNIT_HIDDEN; default off)")
	f.StringVar(&cfg.Guests, "guests", "", "`N` nodes that this one doesn't follow are served at a time, others are sent to those (SENNIT_GUESTS; default "+strconv.Itoa(replicate.DefaultGuests)+")")
	f.StringVar(&cfg.Reserve, "reserve", "", "`SIZE` of the disk that stays free, such as 500MB, at least 64 MiB (SENNIT_RESERVE; default the larger of 1 GiB and 10 %)")
	f.StringArrayVar(&cfg.Origins, "origins", nil, "`ORIGIN` of another site whose pages may use the HTTP door with a token, such as https://app.example, repeatable (SENNIT_ORIGINS; default none)")
	f.StringVar(&cfg.Name, "name", "", "`NAME` of this device, for a new identity (SENNIT_NAME; default the host name)")
	f.StringVar(&cfg.Log, "log", "", "what to log, `LEVEL`: error, warn, info or debug (SENNIT_LOG; default warn)")
	f.BoolVar(&noOpen, "no-open", false, "don't open the page in a browser")
	return cmd
}

// ready tells where a node that has started is. A browser is opened only for
// somebody who sits there.
func (a *app) ready(r daemon.Ready, noOpen bool) {
	defer a.out.Flush() // if whoever listened went away the node runs on
	if a.json {
		_ = a.print(r)
		return
	}
	if r.New {
		a.note("made a new identity: %s", r.Space)
		a.note("write down its recovery words: sennit id words")
	}
	if r.Note != "" {
		a.note("%s", r.Note)
	}
	if r.Open == "" {
		a.line("ready")
		return
	}
	a.line("ready: %s", r.Open)
	if !noOpen && a.seen {
		browse(r.Open)
	}
}

// browse opens a URL in the user's browser, if there is a way.
func browse(url string) {
	name, args := "xdg-open", []string{url}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", url}
	}
	if path, err := exec.LookPath(name); err == nil {
		_ = exec.Command(path, args...).Start() // the URL was printed as well
	}
}

func (a *app) initialise() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "make an identity without running a node",
		Long:    "Makes an identity and prints its recovery words, once. Write them down: they are\nthe only way back if this machine is lost.",
		Example: "  sennit init\n  sennit init --name kitchen --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			dir, err := daemon.DataDir(a.data)
			if err != nil {
				return err
			}
			cfg := daemon.Config{Data: dir, Name: name}
			if err := cfg.Load(); err != nil {
				return err
			}
			id, err := daemon.Init(cfg)
			if err != nil {
				return err
			}
			words, err := id.Words()
			if err != nil {
				return err
			}
			if !a.json {
				a.line("%s", id.Space())
			}
			return a.showWords(id, words, initialised{id.Device().String(), id.Space().String(), words})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of this device (SENNIT_NAME; default the host name)")
	return cmd
}

// initialised is what init --json prints.
type initialised struct {
	Device string `json:"device"` // id of this device
	Space  string `json:"space"`  // id of the space
	Words  string `json:"words"`  // the twelve recovery words, with spaces between
}

func (a *app) openPage() *cobra.Command {
	return &cobra.Command{
		Use: "open", Short: "open the node's page in a browser",
		Long:    "Prints a URL of the node's page that signs in once, and opens it if there is a\nbrowser and a terminal.",
		Example: "  sennit open",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out daemon.Opened
			if err := a.do(cmd.Context(), "POST", "page", nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("%s", out.Open)
			if a.seen {
				browse(out.Open)
			}
			return nil
		},
	}
}

func (a *app) status() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use: "status", Short: "say how the node is",
		Long: `Says how the node is.

With --check it prints one line for a monitoring system, as plugins of Nagios and
its kin do: the state, why it is so, and figures. It exits with 0 (OK), 1 (WARNING),
2 (CRITICAL) or 3 (UNKNOWN). CRITICAL is a node that doesn't answer within 10
seconds, or --timeout, and one that writes nothing because the disk is nearly full
or the clock is ahead. Whatever else sennit doctor finds is a WARNING, and so is a
device of others that forked within a week (sennit forks). UNKNOWN is what can't be
told. With --json: {"state","what","checks"}, where each check has a name, a state,
what is wrong and what to do.`,
		Example: "  sennit status\n  sennit status --json\n  sennit status --check\n  sennit status --watch",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				if a.watching {
					return usageError{errors.New("--check is for one look; leave --watch out")}
				}
				return a.check(cmd.Context())
			}
			var s daemon.Status
			if err := a.do(cmd.Context(), "GET", "status", nil, &s); err != nil {
				return err
			}
			if a.json {
				return a.print(s)
			}
			a.describeStatus(&s)
			return nil
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "one line and an exit code for monitoring systems")
	return a.watchable(cmd, nil)
}

func (a *app) describeStatus(s *daemon.Status) {
	a.line("space    %s", s.Space)
	if s.HTTP != "" {
		a.line("http     %s", s.HTTP)
	}
	step := time.Second
	if a.watching {
		step = time.Minute // that time goes by is no news
	}
	a.line("up       %s, process %d, sennit %s", time.Since(s.Since).Round(step), s.PID, s.Version)
	a.line("holds    %d spaces, %d live ops of its own, %.1f MB on disk", s.Spaces, s.Ops, float64(s.Store)/1e6)
	a.line("disk     %.1f GB free of %.1f GB", float64(s.Disk.Free)/1e9, float64(s.Disk.Size)/1e9)
	a.line("peers    %d", len(s.Peers))
	for _, p := range s.Peers {
		who := p.Space
		if who == "" {
			who = "unknown"
		}
		a.line("         %s %s, %d of %d spaces in step", who, p.Addr, p.Synced, p.Spaces)
	}
	a.line("blobs    %.1f MB on disk, %d missing (%.1f MB)", float64(s.Blobs.Held)/1e6, s.Blobs.Missing, float64(s.Blobs.Bytes)/1e6)
	for _, p := range s.Blobs.Pending[:min(len(s.Blobs.Pending), 5)] {
		a.line("         /%s/%s, %.1f MB: %s", p.Space, p.Path, float64(p.Size)/1e6, p.Why)
	}
	if s.Forks > 0 {
		a.line("forks    %d devices of others signed two histories of a log; see: sennit forks", s.Forks)
	}
	for _, w := range s.Warnings {
		a.note("warning: %s", w.What)
		a.note("hint: %s", w.Do)
	}
}

func (a *app) doctor() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "say what is wrong and what to do",
		Long: `Says what is wrong, and what to do about it. Exits with 1 if anything is. Where no
node runs on the data directory, it looks whether one could.

With --verify it checks every chain, signature, digest and index against the
ops.`,
		Example: "  sennit doctor\n  sennit doctor --verify",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := a.examine(cmd, deep)
			if err != nil {
				return err
			}
			if a.json {
				if findings == nil {
					findings = []daemon.Finding{}
				}
				if err := a.print(examined{findings}); err != nil {
					return err
				}
			} else {
				a.describeFindings(findings)
			}
			switch {
			case len(findings) == 1:
				return sennit.Errorf(sennit.Internal, "one thing is wrong")
			case len(findings) > 0:
				return sennit.Errorf(sennit.Internal, "%d things are wrong", len(findings))
			case !a.json:
				a.line("all is well")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&deep, "verify", false, "check every chain, signature, digest and index")
	return cmd
}

// examined is what doctor --json prints.
type examined struct {
	Findings []daemon.Finding `json:"findings"` // what is wrong; none: all is well
}

// maxFindings is how many findings people are shown: a disk that fails can
// make as many as there are values.
const maxFindings = 100

func (a *app) describeFindings(all []daemon.Finding) {
	for i, f := range all {
		if i == maxFindings {
			a.line("and %d more", len(all)-i)
			a.line("  see them all with --json")
			return
		}
		a.line("%s", oneLine([]byte(strings.TrimSpace(f.Where+" "+f.What))))
		a.line("  %s", oneLine([]byte(f.Do)))
	}
}

// examine asks the running node, or looks at the data directory where none runs.
func (a *app) examine(cmd *cobra.Command, deep bool) ([]daemon.Finding, error) {
	progress := func(p daemon.Progress) {
		if a.told {
			a.note("checked %d of %d", p.Checked, p.Total)
		}
	}
	c, err := a.client(cmd.Context())
	if sennit.CodeOf(err) == sennit.Unreachable {
		cfg, err := a.configuration()
		if err != nil {
			return nil, err
		}
		return daemon.Examine(cmd.Context(), cfg, deep, progress)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return findings(cmd.Context(), c, deep, progress)
}

// findings asks a node what is wrong.
func findings(ctx context.Context, c *client.Client, deep bool, progress func(daemon.Progress)) ([]daemon.Finding, error) {
	query := ""
	if deep {
		query = "?verify"
	}
	body, err := c.Stream(ctx, "/_node/doctor"+query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 16<<20) // there may be many findings
	for lines.Scan() {
		var p daemon.Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return nil, sennit.Errorf(sennit.Internal, "read the node's answer: %w", err)
		}
		if p.Error != "" {
			return nil, sennit.Errorf(sennit.Internal, "the check was not finished: %s", p.Error)
		}
		if p.Done {
			return p.Findings, nil
		}
		progress(p)
	}
	if err := lines.Err(); err != nil {
		return nil, sennit.Errorf(sennit.CodeOf(err), "read the node's answer: %w", err)
	}
	return nil, sennit.Errorf(sennit.Unreachable, "the node's answer ended early")
}

// build is what version --json prints.
type build struct {
	Version  string `json:"version"`          // of Sennit
	Commit   string `json:"commit,omitempty"` // of the source, if that is known
	Go       string `json:"go"`               // version of Go that it was built with
	Platform string `json:"platform"`         // operating system and processor, such as linux/amd64
	Schema   int    `json:"schema"`           // version of what commands print with --json
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "say which version this is",
		Long:    "Says which version this is. With --json, \"schema\" is the version of what commands\nprint with --json.",
		Example: "  sennit version\n  sennit version --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := build{Version: daemon.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Schema: schema}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			if a.json {
				return a.print(v)
			}
			a.line("sennit %s", strings.Join(strings.Fields(strings.Join([]string{v.Version, v.Commit, v.Go, v.Platform}, " ")), " "))
			return nil
		},
	}
}
