package node

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/wire"
)

// Caller is who asks. The zero Caller is anybody: it gets what rules give to
// any.
type Caller struct {
	Principal sennit.Principal
	Scope     []Scope // nil: all that the principal may; otherwise only this
}

// Scope limits a caller, such as a token, to a part of what its principal may.
type Scope struct {
	Everywhere bool // in any space, at any path
	Space      sennit.Space
	Prefix     sennit.Path
	May        sennit.Rights
}

// may asks whether a caller has a right at a path.
func (n *Node) may(c Caller, sp *space, right sennit.Rights, p sennit.Path) bool {
	if c.Scope != nil && !c.scoped(sp.id, right, p) {
		return false
	}
	return sp.authority().May(c.Principal, right, p, uint64(n.cfg.Now().UnixMilli()))
}

func (c Caller) scoped(space sennit.Space, right sennit.Rights, p sennit.Path) bool {
	for _, s := range c.Scope {
		if q, ok := s.within(space, right); ok && p.Under(q) {
			return true
		}
	}
	return false
}

// within is the prefix of a space under which a scope gives a right.
func (s Scope) within(space sennit.Space, right sennit.Rights) (prefix sennit.Path, ok bool) {
	if s.Everywhere {
		return "", s.May&right == right
	}
	return s.Prefix, s.May&right == right && s.Space == space
}

// view is the node as one caller sees it.
type view struct {
	n *Node
	c Caller
}

// Bus is what the node offers to a caller.
func (n *Node) Bus(c Caller) sennit.Bus { return &view{n, c} }

// Owner is the caller who may all that this node may.
func (n *Node) Owner() Caller { return Caller{Principal: n.self} }

// Resolve tells which space a root names.
func (n *Node) Resolve(root string) (sennit.Space, error) {
	switch {
	case root == "me":
		return n.self.Space, nil
	case root == "_node":
		return sennit.Space{}, sennit.Errorf(sennit.NotFound, "/_node is not a space")
	case strings.HasPrefix(root, "@"):
		id, err := n.Local(nameKey + root[1:])
		if err != nil {
			return sennit.Space{}, err
		}
		if len(id) != 32 {
			return sennit.Space{}, sennit.Hint(sennit.Errorf(sennit.NotFound, "nobody is called %s here", root),
				"see whom this node knows with: sennit follows")
		}
		return sennit.Space(id), nil
	}
	return sennit.ParseSpace(root)
}

// absent is what a caller gets where there is nothing, or nothing for them.
func absent(a sennit.Addr) error {
	return sennit.Errorf(sennit.NotFound, "nothing at %s", a)
}

// unknown is what a caller gets in a space of which this node holds nothing:
// others than the node itself must not learn that from the answer.
func (b *view) unknown(a sennit.Addr) error {
	if b.c.Scope != nil || b.c.Principal != b.n.self {
		return absent(a)
	}
	return sennit.Hint(absent(a), "this node holds nothing of that space; follow it first: sennit follow")
}

// open resolves an address for reading.
func (b *view) open(a sennit.Addr) (*space, *store.View, error) {
	id, err := b.n.Resolve(a.Root)
	if err != nil {
		return nil, nil, err
	}
	sp := b.n.space(id)
	if sp == nil {
		return nil, nil, b.unknown(a)
	}
	if !b.n.may(b.c, sp, sennit.Read, a.Path) {
		return nil, nil, absent(a)
	}
	v, err := b.n.st.View()
	return sp, v, err
}

// Get implements [sennit.Bus].
func (b *view) Get(_ context.Context, a sennit.Addr) (sennit.Node, error) {
	sp, v, err := b.open(a)
	if err != nil {
		return sennit.Node{}, err
	}
	defer v.Release()
	l := b.n.through(v)
	s, ok, err := l.shows(sp, a.Path)
	if err != nil {
		return sennit.Node{}, err
	}
	if !ok {
		return sennit.Node{}, absent(a)
	}
	return l.node(sp, a.Path, s)
}

// Open implements [sennit.Bus].
func (b *view) Open(ctx context.Context, a sennit.Addr) (sennit.Node, sennit.Content, error) {
	sp, v, err := b.open(a)
	if err != nil {
		return sennit.Node{}, nil, err
	}
	n, c, err := b.content(ctx, sp, v, a)
	if err != nil {
		v.Release()
		return sennit.Node{}, nil, err
	}
	return n, c, nil
}

// content opens what a path shows. It keeps the view if it fails not.
func (b *view) content(ctx context.Context, sp *space, v *store.View, a sennit.Addr) (n sennit.Node, c sennit.Content, err error) {
	l := b.n.through(v)
	s, ok, err := l.shows(sp, a.Path)
	if err == nil && !ok {
		err = absent(a)
	}
	if err == nil {
		n, err = l.node(sp, a.Path, s)
	}
	switch {
	case err != nil:
		return n, nil, err
	case n.Value.Blob != nil:
		if c, err = b.n.openBlob(ctx, Want{sp.id, a.Path, *n.Value.Blob}); err == nil {
			v.Release()
		}
		return n, c, err
	case n.Value.Stream > 0:
		stream, err := l.content(sp, a.Path, n.Value.Stream)
		return n, &held{stream, v}, err
	}
	v.Release()
	return n, inline(n.Value.Data), nil
}

// inline is the content of a value that rides in its op.
type inline []byte

func (c inline) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return bytes.NewReader(c).ReadAt(p, off)
}

func (inline) Close() error { return nil }

// held is a stream's content, with the view that it is read from.
type held struct {
	sennit.Content
	v *store.View
}

func (c *held) Close() error {
	if c.v == nil {
		return nil
	}
	err := c.Content.Close()
	c.v.Release()
	c.v = nil
	return err
}

// unreadable says that the store is damaged.
func unreadable(p sennit.Path, why error) error {
	return sennit.Hint(sennit.Errorf(sennit.Internal, "an op at /%s can't be read: %w", p, why), "run: sennit doctor --verify")
}

// maxList bounds one answer of List.
const maxList = 10_000

// List implements [sennit.Bus].
func (b *view) List(ctx context.Context, a sennit.Addr, o sennit.Listing) ([]sennit.Entry, bool, error) {
	switch {
	case o.Limit < 0:
		return nil, false, sennit.Errorf(sennit.BadInput, "a listing of at most %d entries", o.Limit)
	case o.Limit == 0:
		o.Limit = 1000
	}
	limit := min(o.Limit, maxList)
	sp, v, err := b.open(a)
	if err != nil {
		return nil, false, err
	}
	defer v.Release()
	var kept []sennit.Entry
	for after, more := o.After, true; more && len(kept) < limit; {
		var entries []sennit.Entry
		if entries, more, err = v.Children(sp.num, a.Path, after, limit-len(kept)); err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			after = e.Name
			if b.n.may(b.c, sp, sennit.Read, a.Path.Join(sennit.Path(e.Name))) {
				kept = append(kept, e)
			}
		}
		if len(kept) == limit {
			return kept, more, nil
		}
	}
	if len(kept) > 0 || a.Path == "" {
		return kept, false, nil
	}
	if o.After != "" { // nothing after it, or nothing at all?
		_, _, err := b.List(ctx, a, sennit.Listing{Limit: 1})
		return nil, false, err
	}
	return nil, false, absent(a)
}

// Write implements [sennit.Bus].
func (b *view) Write(ctx context.Context, root string, changes []sennit.Change) (sennit.Version, error) {
	id, err := b.n.Resolve(root)
	if err != nil {
		return "", err
	}
	switch {
	case len(changes) == 0:
		return "", sennit.Errorf(sennit.BadInput, "a write of no changes")
	case len(changes) > sennit.MaxOps:
		return "", sennit.Hint(sennit.Errorf(sennit.TooLarge, "%d changes in one write; at most %d are allowed", len(changes), sennit.MaxOps),
			"write them in several parts")
	}
	sp := b.n.space(id)
	for i := range changes {
		if err := b.check(sp, id, &changes[i]); err != nil {
			return "", err
		}
		if changes[i].Value.Blob != nil {
			return "", sennit.Hint(sennit.Errorf(sennit.Unsupported, "references to blobs can't be written"), "put the bytes themselves, from a stream")
		}
	}
	return b.commit(ctx, sp, id, changes)
}

// commit writes changes that were checked.
func (b *view) commit(ctx context.Context, sp *space, id sennit.Space, changes []sennit.Change) (v sennit.Version, err error) {
	r := &request{space: id, class: wire.Data, ops: make([]wire.Op, len(changes)), done: make(chan result, 1)}
	for i := range changes {
		if changes[i].If != nil {
			r.conds = append(r.conds, condition{changes[i].Path, *changes[i].If})
		}
		if c := &changes[i]; c.Kind == sennit.KindAdd {
			r.adds = append(r.adds, adding{i, c.Delta})
			r.ops[i] = b.n.op(c.Kind, c.Path, nil)
			r.size += len(c.Path) + maxAdd
			continue
		}
		r.looks = r.looks || changes[i].Kind == sennit.KindAppend
		r.ops[i] = b.n.change(&changes[i])
		r.size += len(r.ops[i].Bytes())
	}
	if r.size > sennit.MaxCommit {
		return "", sennit.Hint(sennit.Errorf(sennit.TooLarge, "the changes take %d bytes; at most %d go into one write", r.size, sennit.MaxCommit),
			"write them in several parts")
	}
	if r.auth, err = sp.authority().Relies(b.n.self, changes); err != nil {
		return "", err
	}
	if id != b.n.self.Space {
		r.evidence = b.n.ownEvidence(sp)
	}
	res := b.n.submit(ctx, r)
	return res.version, res.err
}

// Put implements [sennit.Bus].
func (b *view) Put(ctx context.Context, a sennit.Addr, typ string, content io.Reader, cond *sennit.Version) (sennit.Version, error) {
	id, err := b.n.Resolve(a.Root)
	if err != nil {
		return "", err
	}
	sp := b.n.space(id)
	change := sennit.Change{Kind: sennit.KindPut, Path: a.Path, Value: sennit.Value{Type: typ}, If: cond}
	if err := b.check(sp, id, &change); err != nil {
		return "", err // before any byte is taken in
	}
	value, unpin, err := b.n.takeIn(ctx, content)
	if err != nil {
		return "", err
	}
	defer unpin()
	value.Type = typ
	change.Value = value
	return b.commit(ctx, sp, id, []sennit.Change{change})
}

// check says what is wrong with a change before it is queued.
func (b *view) check(sp *space, id sennit.Space, c *sennit.Change) error {
	right, verb := sennit.Write, "write to"
	switch {
	case c.Kind == sennit.KindDel:
		right, verb = sennit.Remove, "delete"
	case c.Kind != sennit.KindPut && c.Kind != sennit.KindAdd && c.Kind != sennit.KindAppend:
		return sennit.Errorf(sennit.Unsupported, "changes of kind %d can't be written yet", c.Kind)
	}
	a := sennit.Addr{Root: id.String(), Path: c.Path}
	if sp == nil {
		return b.unknown(a)
	}
	if !b.n.may(b.c, sp, right, c.Path) {
		if b.n.may(b.c, sp, sennit.Read, c.Path) {
			return sennit.Hint(sennit.Errorf(sennit.Denied, "you may not %s %s", verb, a), "ask the owner for the right; see the rules with: sennit rules")
		}
		return absent(a)
	}
	if c.If != nil && !b.n.may(b.c, sp, sennit.Read, c.Path) {
		return sennit.Errorf(sennit.Denied, "you may not read %s, and so not ask which version it has", a)
	}
	switch p, err := sennit.ParsePath(string(c.Path)); {
	case err != nil:
		return err
	case p == "" && c.Kind != sennit.KindDel:
		return sennit.Errorf(sennit.BadInput, "the root of a space can't hold a value")
	case p != c.Path:
		return sennit.Errorf(sennit.BadInput, "the path %q is not in canonical form", c.Path)
	case c.Path.Reserved():
		return sennit.Hint(sennit.Errorf(sennit.Denied, "%s is where a space keeps its own business; it can't be written to", c.Path),
			"keys, rules and groups have commands of their own")
	case len(c.Value.Data) > sennit.MaxInline:
		return sennit.Errorf(sennit.TooLarge, "the value at %s has %d bytes; at most %d are allowed", c.Path, len(c.Value.Data), sennit.MaxInline)
	case len(c.Value.Type) > sennit.MaxType || !printable(c.Value.Type):
		return sennit.Errorf(sennit.BadInput, "%.40q is not a media type", c.Value.Type)
	case c.Kind == sennit.KindAppend && len(c.Value.Data) == 0:
		return sennit.Errorf(sennit.BadInput, "nothing is to be added to the stream at %s", c.Path)
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// change makes the op of a change.
func (n *Node) change(c *sennit.Change) wire.Op {
	switch c.Kind {
	case sennit.KindDel:
		return n.op(sennit.KindDel, c.Path, wire.Del{Deep: c.Deep}.Append(nil))
	case sennit.KindAppend:
		return n.op(sennit.KindAppend, c.Path, wire.Append{Type: c.Value.Type, Data: c.Value.Data}.Append(make([]byte, 0, len(c.Value.Data)+len(c.Value.Type)+2)))
	}
	return n.op(sennit.KindPut, c.Path, wire.Put{Value: c.Value}.Append(make([]byte, 0, len(c.Value.Data)+len(c.Value.Type)+2)))
}

// Local reads the node's own state, nil if there is none.
func (n *Node) Local(name string) ([]byte, error) {
	v, err := n.st.View()
	if err != nil {
		return nil, err
	}
	defer v.Release()
	return v.Local(name)
}

// Locals calls f for the node's own state under a prefix.
func (n *Node) Locals(prefix string, f func(name string, value []byte) error) error {
	v, err := n.st.View()
	if err != nil {
		return err
	}
	defer v.Release()
	return v.Locals(prefix, f)
}

// SetLocal writes the node's own state durably; a nil value removes it.
func (n *Node) SetLocal(ctx context.Context, values map[string][]byte) error {
	return n.submit(ctx, &request{done: make(chan result, 1), do: func(b *store.Batch) error {
		for name, value := range values {
			b.SetLocal(name, value)
		}
		return nil
	}}).err
}
