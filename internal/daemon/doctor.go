package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
)

// Progress is a line of GET /_node/doctor while it works; the last line has
// Done set.
type Progress struct {
	Checked  uint64    `json:"checked"`
	Total    uint64    `json:"total"`
	Done     bool      `json:"done,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	Error    string    `json:"error,omitempty"` // why the check could not be finished
}

// doctor says what is wrong, and what to do. With ?verify it checks every
// chain, signature, digest and index against the ops. It answers in JSON
// Lines: progress at most once a second, then the findings.
func (d *daemon) doctor(w http.ResponseWriter, r *http.Request) {
	findings, err := d.examine(r.Context())
	if err != nil {
		d.door.Fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	last := Progress{Done: true}
	if r.URL.Query().Has("verify") {
		more, err := verify(r.Context(), d.node, func(p Progress) {
			last.Checked, last.Total = p.Checked, p.Total
			// It may take longer than an answer has time to leave.
			_ = rc.SetWriteDeadline(time.Now().Add(time.Minute))
			_ = enc.Encode(p) // the caller went away: the context ends
			_ = rc.Flush()
		})
		_ = rc.SetWriteDeadline(time.Now().Add(time.Minute))
		findings = append(findings, more...)
		if err != nil {
			last.Error = err.Error()
		}
	}
	last.Findings = findings
	_ = enc.Encode(last)
}

// verify checks a node's store, and tells how far it got once a second.
func verify(ctx context.Context, n *node.Node, progress func(Progress)) ([]Finding, error) {
	said := time.Now()
	found, err := n.Verify(ctx, func(done, total uint64) {
		if now := time.Now(); now.Sub(said) >= time.Second {
			said = now
			progress(Progress{Checked: done, Total: total})
		}
	})
	all := make([]Finding, len(found))
	for i, f := range found {
		all[i] = Finding{What: f.What, About: "data", Where: f.Where, Do: f.Do, Grave: true}
	}
	return all, err
}

// examine looks for what commonly goes wrong.
func (d *daemon) examine(ctx context.Context) ([]Finding, error) {
	all := d.warnings()
	follows, err := d.follows(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range follows {
		if f.State == "offline" {
			what := "nobody who holds " + f.Space + " can be reached"
			if f.Problem != "" {
				what += ": " + f.Problem
			}
			all = append(all, Finding{What: what, About: "follows", Do: "ask them to start their node; it is tried again by itself"})
		}
	}
	return all, nil
}

// Examine looks at a data directory on which no node runs: whether a node could
// start on it, and, if deep is set, everything in its store. What keeps a node
// from starting is a finding. It fails with [sennit.NotFound] if there is no
// data directory, and with [sennit.Conflict] if a node runs on it.
func Examine(ctx context.Context, cfg Config, deep bool, progress func(Progress)) (findings []Finding, err error) {
	if _, err := os.Lstat(cfg.Data); errors.Is(err, os.ErrNotExist) {
		return nil, sennit.Hint(sennit.Errorf(sennit.NotFound, "there is no data directory %s", cfg.Data), "name it: --data DIR, or make one: sennit up")
	}
	dir, err := OpenDirectory(cfg.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	finding := func(where string, err error) []Finding {
		do := sennit.HintOf(err)
		if do == "" {
			do = "put it back from a backup"
		}
		return []Finding{{What: err.Error(), About: "data", Where: where, Do: do, Grave: true}}
	}
	at := filepath.Join(cfg.Data, storeDir)
	id, err := keys.Load(cfg.Data)
	switch {
	case sennit.CodeOf(err) == sennit.NotFound && !store.Exists(nil, at):
		return nil, nil // a node would begin anew
	case err != nil:
		return finding(filepath.Join(cfg.Data, keysDir), err), nil
	}
	if !store.Exists(nil, at) {
		return nil, nil
	}
	st, err := store.Open(store.Config{Dir: at})
	if err != nil {
		return finding(at, err), nil
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	n, err := node.New(node.Config{Store: st, Identity: id, Log: logger(cfg.Log)})
	if err != nil {
		return finding(at, err), nil
	}
	if deep {
		findings, err = verify(ctx, n, progress)
		if err != nil {
			return findings, err
		}
	}
	// A node that was opened and not run would count as one that crashed.
	stopped, stop := context.WithCancel(ctx)
	stop()
	return findings, n.Run(stopped)
}
