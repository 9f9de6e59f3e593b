package daemon

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/node"
	"github.com/sennit/sennit/internal/wire"
)

// Rule is a grant as it is listed.
type Rule struct {
	ID     string   `json:"id"`              // the op that made it: commit id and index
	Prefix string   `json:"prefix"`          // address of what it is about
	Who    string   `json:"who"`             // "any", a space id, or "device:", "group:", "board:" and a name
	May    []string `json:"may"`             // rights
	Where  string   `json:"where,omitempty"` // pattern under the prefix
	Until  string   `json:"until,omitempty"` // a time: when it ends, if it does
	Author string   `json:"author"`          // space of who made it
	Ended  bool     `json:"ended,omitempty"` // it was revoked: it allows nothing any more
}

func (d *daemon) listRules(r *http.Request) (int, any, error) {
	a, space, err := d.where(r.URL.Query().Get("path"))
	if err != nil {
		return 0, nil, err
	}
	authority := d.node.Authority(space)
	if authority == nil {
		return 0, nil, sennit.Errorf(sennit.NotFound, "this node holds nothing of %s", a)
	}
	all := []Rule{}
	for _, rule := range authority.Rules(a.Path) {
		out := Rule{
			ID:     ruleID(rule.ID),
			Prefix: sennit.Addr{Root: space.String(), Path: rule.Grant.Prefix}.String(),
			Who:    whoText(rule.Grant.Who), May: rule.Gives.Names(), Where: rule.Grant.Where, Author: rule.Author.Space.String(),
			Ended: rule.Ended,
		}
		if rule.Grant.Until > 0 {
			out.Until = time.UnixMilli(int64(rule.Grant.Until)).UTC().Format(time.RFC3339)
		}
		all = append(all, out)
	}
	return http.StatusOK, all, nil
}

func (d *daemon) addRule(r *http.Request) (int, any, error) {
	var in struct {
		Who    string   `json:"who"`
		May    []string `json:"may"`
		Prefix string   `json:"prefix"`
		Where  string   `json:"where"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	a, space, err := d.where(in.Prefix)
	if err != nil {
		return 0, nil, err
	}
	g := wire.Grant{Prefix: a.Path, Where: in.Where}
	if g.May, err = sennit.ParseRights(in.May); err != nil {
		return 0, nil, err
	}
	if g.Who, err = d.parseWho(in.Who); err != nil {
		return 0, nil, err
	}
	if _, err := wire.DecodeGrant(g.Append(nil)); err != nil {
		return 0, nil, sennit.Errorf(sennit.BadInput, "this makes no rule: %w", err)
	}
	v, err := d.node.Allow(r.Context(), d.node.Owner(), space, []wire.Grant{g})
	return http.StatusCreated, map[string]string{"version": string(v)}, err
}

// revoke takes back one rule, or what somebody may do at and under a path.
func (d *daemon) revoke(r *http.Request) (int, any, error) {
	var in struct {
		Rule   string `json:"rule"`
		Who    string `json:"who"`
		Prefix string `json:"prefix"`
		Void   bool   `json:"void"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	a, space, err := d.where(in.Prefix)
	if err != nil {
		return 0, nil, err
	}
	v := node.Revocation{Prefix: a.Path, Void: in.Void}
	switch {
	case (in.Rule == "") == (in.Who == ""):
		return 0, nil, sennit.Errorf(sennit.BadInput, "a revocation is about somebody or about a rule: one of who and rule is wanted")
	case in.Who != "":
		v.Who, err = d.parseWho(in.Who)
	default:
		v.Who, v.Prefix, err = d.parseRule(space, in.Rule)
	}
	if err != nil {
		return 0, nil, err
	}
	version, err := d.node.Revoke(r.Context(), d.node.Owner(), space, []node.Revocation{v})
	return http.StatusCreated, map[string]string{"version": string(version)}, err
}

// parseRule finds a rule of a space by the beginning of its id.
func (d *daemon) parseRule(space sennit.Space, id string) (who wire.Who, prefix sennit.Path, err error) {
	const hint = "sennit rules --json lists them with their ids"
	authority := d.node.Authority(space)
	if authority == nil {
		return who, "", sennit.Errorf(sennit.NotFound, "this node holds nothing of space %s", space)
	}
	for _, rule := range authority.Rules("") {
		if !strings.HasPrefix(ruleID(rule.ID), id) {
			continue
		}
		if who.Subject != 0 {
			return who, "", sennit.Hint(sennit.Errorf(sennit.BadInput, "the ids of several rules begin with %q", id), hint)
		}
		who, prefix = wire.Who{Subject: wire.SubjectOp, Op: rule.ID}, rule.Grant.Prefix
	}
	if who.Subject == 0 {
		err = sennit.Hint(sennit.Errorf(sennit.NotFound, "no rule's id begins with %q", id), hint)
	}
	return who, prefix, err
}

// ruleID is the text that names a rule.
func ruleID(op wire.OpRef) string {
	return op.Commit.String() + "-" + strconv.FormatUint(uint64(op.Index), 10)
}

// where reads an address, of a value or of a subtree, and tells its space.
func (d *daemon) where(text string) (a sennit.Addr, space sennit.Space, err error) {
	if len(text) > 1 {
		text = strings.TrimSuffix(text, "/")
	}
	if a, err = sennit.ParseAddr(text); err == nil {
		space, err = d.node.Resolve(a.Root)
	}
	return a, space, err
}

// parseWho reads whom a rule is for.
func (d *daemon) parseWho(text string) (w wire.Who, err error) {
	if text == "any" {
		return wire.Who{Subject: wire.SubjectAny}, nil
	}
	if key, ok := strings.CutPrefix(text, "device:"); ok {
		device, err := sennit.ParseDevice(key)
		return wire.Who{Subject: wire.SubjectDevice, Key: device}, err
	}
	if kind, _, ok := strings.Cut(text, ":"); ok && (kind == "group" || kind == "board") {
		return w, sennit.Errorf(sennit.Unsupported, "rules for a %s are not interpreted yet", kind)
	}
	const hint = "rules are for any, a space id, @name or device:KEY"
	if !strings.HasPrefix(text, "@") {
		space, err := sennit.ParseSpace(text)
		if err != nil {
			return w, sennit.Hint(err, hint)
		}
		return wire.Who{Subject: wire.SubjectSpace, Key: space}, nil
	}
	space, err := d.node.Resolve(text)
	if err != nil && sennit.HintOf(err) == "" {
		err = sennit.Hint(err, hint)
	}
	return wire.Who{Subject: wire.SubjectSpace, Key: space}, err
}

// whoText is the reverse of parseWho.
func whoText(w wire.Who) string {
	switch w.Subject {
	case wire.SubjectAny:
		return "any"
	case wire.SubjectSpace:
		return sennit.Space(w.Key).String()
	case wire.SubjectDevice:
		return "device:" + sennit.Device(w.Key).String()
	case wire.SubjectGroup:
		return "group:" + w.Group
	case wire.SubjectBoard:
		return "board:" + sennit.Space(w.Key).String()
	}
	return "subject " + strconv.Itoa(int(w.Subject)) // of a newer program
}
