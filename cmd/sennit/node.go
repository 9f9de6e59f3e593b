package main

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/daemon"
)

func (a *app) up() *cobra.Command {
	var cfg daemon.Config
	var noOpen bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "run a node until it is interrupted",
		Long: `Runs a node in the foreground. Makes an identity if the data directory has none.
When it is ready it prints where to go; with --json, one line:
{"ready":true,"space","device","http","open","peer":[...],"pid"}`,
		Example: "  sennit up\n  sennit up --data /srv/sennit --http 127.0.0.1:0 --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Data = a.data
			if err := cfg.Load(); err != nil {
				return err
			}
			return daemon.Run(cmd.Context(), cfg, func(r daemon.Ready) { a.ready(r, noOpen) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.HTTP, "http", "", "address of the HTTP door, or off (SENNIT_HTTP; default "+daemon.DefaultHTTP+")")
	f.StringArrayVar(&cfg.Listen, "listen", nil, "multiaddr for peers, repeatable (SENNIT_LISTEN; default QUIC and TCP on free ports)")
	f.StringVar(&cfg.LAN, "lan", "", "look for nodes on the local network: on or off (SENNIT_LAN; default on)")
	f.StringVar(&cfg.Reserve, "reserve", "", "disk that stays free, such as 500MB (SENNIT_RESERVE; default the larger of 1 GiB and 10 %)")
	f.StringVar(&cfg.Name, "name", "", "name of this device, for a new identity (SENNIT_NAME; default the host name)")
	f.StringVar(&cfg.Log, "log", "", "what to log: error, warn, info or debug (SENNIT_LOG; default warn)")
	f.BoolVar(&noOpen, "no-open", false, "don't open the page in a browser")
	return cmd
}

// ready tells where a node that has started is. A browser is opened only for
// somebody who sits there.
func (a *app) ready(r daemon.Ready, noOpen bool) {
	if a.json {
		_ = a.print(r) // whoever listened went away; the node runs on
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
	if !noOpen && isTerminal(a.out) {
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
		Example: "  sennit init",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			cfg := daemon.Config{Data: a.data, Name: name}
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
			if a.json {
				err = a.print(map[string]string{"space": id.Space().String(), "device": id.Device().String(), "words": words})
			} else {
				a.line("%s", id.Space())
				a.line("%s", words)
				a.note("Write these twelve words down now. They are not shown again.")
			}
			if err != nil {
				return err
			}
			return id.ForgetWords()
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of this device (default the host name)")
	return cmd
}

func (a *app) openPage() *cobra.Command {
	return &cobra.Command{
		Use: "open", Short: "open the node's page in a browser",
		Long:    "Prints a URL of the node's page that signs in once, and opens it if there is a\nbrowser and a terminal.",
		Example: "  sennit open",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out map[string]string
			if err := a.do(cmd.Context(), "POST", "page", nil, &out); err != nil {
				return err
			}
			if a.json {
				return a.print(out)
			}
			a.line("%s", out["open"])
			if isTerminal(a.out) {
				browse(out["open"])
			}
			return nil
		},
	}
}

func (a *app) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "say how the node is",
		Example: "  sennit status --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s daemon.Status
			if err := a.do(cmd.Context(), "GET", "status", nil, &s); err != nil {
				return err
			}
			if a.json {
				return a.print(s)
			}
			a.line("space    %s", s.Space)
			a.line("http     %s", s.HTTP)
			a.line("up       %s, process %d, sennit %s", time.Since(s.Since).Round(time.Second), s.PID, s.Version)
			a.line("holds    %d spaces, %d live ops of its own, %.1f MB on disk", s.Spaces, s.Ops, float64(s.Store)/1e6)
			a.line("disk     %.1f GB free of %.1f GB", float64(s.Disk.Free)/1e9, float64(s.Disk.Size)/1e9)
			a.line("peers    %d", len(s.Peers))
			for _, p := range s.Peers {
				a.line("         %s %s, %d of %d spaces in step", orUnknown(p.Space), p.Addr, p.Synced, p.Spaces)
			}
			for _, w := range s.Warnings {
				a.note("warning: %s", w.What)
				a.note("hint: %s", w.Do)
			}
			return nil
		},
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (a *app) doctor() *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "say what is wrong and what to do",
		Long: `Says what is wrong, and what to do about it. Exits with 1 if anything is.

With --verify it checks every chain, signature, digest and index against the
ops. Where no node runs on the data directory, it opens the store itself.`,
		Example: "  sennit doctor\n  sennit doctor --verify",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := a.examine(cmd, verify)
			if err != nil {
				return err
			}
			if a.json {
				if findings == nil {
					findings = []daemon.Finding{}
				}
				if err := a.print(map[string]any{"findings": findings}); err != nil {
					return err
				}
			}
			for _, f := range findings {
				if !a.json {
					a.line("%s", strings.TrimSpace(f.Where+" "+f.What))
					a.line("  %s", f.Do)
				}
			}
			if len(findings) > 0 {
				return sennit.Errorf(sennit.Internal, "%d things are wrong", len(findings))
			}
			if !a.json {
				a.line("all is well")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "check every chain, signature, digest and index")
	return cmd
}

// examine asks the running node, or looks at the data directory where none runs.
func (a *app) examine(cmd *cobra.Command, verify bool) ([]daemon.Finding, error) {
	progress := func(p daemon.Progress) {
		if isTerminal(a.err) {
			a.note("checked %d of %d", p.Checked, p.Total)
		}
	}
	c, err := a.client(cmd.Context())
	if sennit.CodeOf(err) == sennit.Unreachable && verify {
		cfg := daemon.Config{Data: a.data}
		if err := cfg.Load(); err != nil {
			return nil, err
		}
		return daemon.Verify(cmd.Context(), cfg, progress)
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	query := ""
	if verify {
		query = "?verify"
	}
	body, err := c.Open(cmd.Context(), "/_node/doctor"+query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var p daemon.Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return nil, sennit.Errorf(sennit.Internal, "read the node's answer: %w", err)
		}
		if p.Error != "" {
			return nil, sennit.Errorf(sennit.Internal, "%s", p.Error)
		}
		if p.Done {
			return p.Findings, nil
		}
		progress(p)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, sennit.Errorf(sennit.Internal, "the node's answer ended early")
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "say which version this is",
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": daemon.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v["commit"] = s.Value
					}
				}
			}
			if a.json {
				return a.print(v)
			}
			a.line("sennit %s %s %s %s", v["version"], v["commit"], v["go"], v["platform"])
			return nil
		},
	}
}
