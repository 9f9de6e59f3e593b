package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/keys"
	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/store"
)

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// Progress is a line of GET /_node/doctor while it works; the last line has
// Done set.
type Progress struct {
	Checked  uint64    `json:"checked"`
	Total    uint64    `json:"total"`
	Done     bool      `json:"done,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
	Error    string    `json:"error,omitempty"`
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
	enc := json.NewEncoder(w)
	last := Progress{Done: true}
	if r.URL.Query().Has("verify") {
		said := time.Now()
		more, err := d.node.Verify(r.Context(), func(done, total uint64) {
			last.Checked, last.Total = done, total
			if time.Since(said) >= time.Second {
				said = time.Now()
				_ = enc.Encode(Progress{Checked: done, Total: total}) // the caller went away: the context ends
				_ = http.NewResponseController(w).Flush()
			}
		})
		for _, f := range more {
			findings = append(findings, Finding{f.What, f.Where, f.Do})
		}
		if err != nil {
			last.Error = err.Error()
		}
	}
	last.Findings = findings
	_ = enc.Encode(last)
}

// Verify checks the store of a data directory on which no node runs.
func Verify(ctx context.Context, cfg Config, progress func(Progress)) (findings []Finding, err error) {
	if !store.Exists(nil, filepath.Join(cfg.Data, storeDir)) {
		return nil, sennit.Hint(sennit.Errorf(sennit.NotFound, "%s holds no store", cfg.Data), "name the data directory: --data DIR")
	}
	dir, err := OpenDirectory(cfg.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	id, err := keys.Load(cfg.Data)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(store.Config{Dir: filepath.Join(cfg.Data, storeDir)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	n, err := node.New(node.Config{Store: st, Identity: id, Log: logger(cfg.Log)})
	if err != nil {
		return nil, err
	}
	said := time.Now()
	found, err := n.Verify(ctx, func(done, total uint64) {
		if time.Since(said) >= time.Second {
			said = time.Now()
			progress(Progress{Checked: done, Total: total})
		}
	})
	for _, f := range found {
		findings = append(findings, Finding{f.What, f.Where, f.Do})
	}
	return findings, err
}

// examine looks for what commonly goes wrong.
func (d *daemon) examine(ctx context.Context) ([]Finding, error) {
	var all []Finding
	add := func(what, do string) { all = append(all, Finding{What: what, Do: do}) }
	if err := d.full(); err != nil {
		add(err.Error(), sennit.HintOf(err))
	}
	if skew := d.rep.Ahead(); skew > time.Minute || skew < -time.Minute {
		add("this machine's clock differs from most peers' by "+skew.Round(time.Second).String(), "set the clock")
	}
	if words, err := d.id.Words(); err == nil && words != "" {
		add("the recovery words were not written down yet: a lost disk would be a lost identity", "sennit id words")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, err
	}
	_, follows, err := d.listFollows(r)
	if err != nil {
		return nil, err
	}
	for _, f := range follows.([]Follow) {
		if f.State == "offline" {
			what := "nobody who holds " + f.Space + " can be reached"
			if f.Problem != "" {
				what += ": " + f.Problem
			}
			add(what, "ask them to start their node; it is tried again by itself")
		}
	}
	return all, nil
}
