package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/internal/commit"
	"github.com/sennit/sennit/internal/store"
	"github.com/sennit/sennit/internal/tree"
	"github.com/sennit/sennit/internal/wire"
)

// TestVerifyFindsDamage changes one thing at a time behind a node's back, as
// no checksum of the store would notice, and wants it found.
func TestVerifyFindsDamage(t *testing.T) {
	id := newIdentity(t, "owner")
	tests := []struct {
		name   string
		damage func(b *store.Batch, at *store.Log, space uint32, v *store.View)
		want   string
	}{
		{"nothing", func(*store.Batch, *store.Log, uint32, *store.View) {}, ""},
		{"an op's value", func(b *store.Batch, l *store.Log, _ uint32, v *store.View) {
			raw, _ := v.Op(l.Num, 2, 0)
			raw[len(raw)-1] ^= 1
			b.PutOp(l.Num, 2, 0, raw)
		}, "not genuine"},
		{"an op's path", func(b *store.Batch, l *store.Log, _ uint32, _ *store.View) {
			op := putOp("elsewhere", "x")
			b.PutOp(l.Num, 2, 0, op.Bytes())
		}, "not genuine"},
		{"a signature", func(b *store.Batch, l *store.Log, _ uint32, v *store.View) {
			c, _ := v.Commit(l.Num, 3)
			c.Sig[3] ^= 1
			b.PutCommit(l.Num, 3, c)
		}, "not genuine"},
		{"a clock", func(b *store.Batch, l *store.Log, _ uint32, v *store.View) {
			c, _ := v.Commit(l.Num, 3)
			c.Clock++
			b.PutCommit(l.Num, 3, c)
		}, "not genuine"},
		{"a commit's id", func(b *store.Batch, l *store.Log, _ uint32, v *store.View) {
			c, _ := v.Commit(l.Num, 3)
			c.ID[0] ^= 1
			b.PutCommit(l.Num, 3, c)
		}, "under the id of another"},
		{"a node of the tree of ids", func(b *store.Batch, l *store.Log, _ uint32, _ *store.View) {
			b.PutNode(l.Num, commit.Place{Level: 1, Index: 0}, sennit.Hash{1})
		}, "tree of ids"},
		{"a value that isn't in the index", func(b *store.Batch, _ *store.Log, space uint32, _ *store.View) {
			b.ClearSlot(space, "a/4", tree.Put, store.Pos{})
		}, "should have 1 ops"},
		{"a value that is in the index and was deleted", func(b *store.Batch, l *store.Log, space uint32, v *store.View) {
			pos, _, _ := v.At(space, "a/5", tree.Put)
			b.SetSlot(space, "gone/1", tree.Put, pos)
		}, "should have none"},
		{"an older value in the index", func(b *store.Batch, l *store.Log, space uint32, v *store.View) {
			pos, _, _ := v.At(space, "same", tree.Put)
			pos.Seq--
			b.SetSlot(space, "same", tree.Put, pos)
		}, "other ops"},
		{"the last path of the index", func(b *store.Batch, _ *store.Log, space uint32, _ *store.View) {
			b.ClearSlot(space, "same", tree.Put, store.Pos{})
		}, "should have 1 ops"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := boot(t, &machine{id: id, fs: vfs.NewMem()})
			defer m.stop()
			bus := m.Bus(m.Owner())
			for i := range 8 {
				put := func(p string) sennit.Change {
					return sennit.Change{Kind: sennit.KindPut, Path: sennit.MustPath(p), Value: sennit.Value{Data: fmt.Append(nil, i)}}
				}
				changes := []sennit.Change{put(fmt.Sprint("a/", i)), put("same"), put(fmt.Sprint("gone/", i))}
				if i == 7 {
					changes = append(changes[:2], sennit.Change{Kind: sennit.KindDel, Path: "gone", Deep: true})
				}
				if _, err := bus.Write(t.Context(), "me", changes); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := m.Trie(t.Context(), id.Space()); err != nil { // digests of what was right
				t.Fatal(err)
			}
			v, err := m.st.View()
			if err != nil {
				t.Fatal(err)
			}
			space, _ := m.st.Space(id.Space())
			for _, l := range m.st.Logs(space) {
				if l.Rec.Class == wire.Data {
					b := m.st.Batch()
					test.damage(b, l, space, v)
					if err := b.Sync(); err != nil {
						t.Fatal(err)
					}
				}
			}
			v.Release()
			done := uint64(0)
			found, err := m.Verify(t.Context(), func(d, total uint64) {
				if done = d; d > total {
					t.Errorf("%d of %d", d, total)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%q", found)
			if (test.want == "") != (len(found) == 0) || !strings.Contains(text, test.want) {
				t.Errorf("it found %s", text)
			}
			if test.want == "" && done != 9 {
				t.Errorf("%d commits were checked", done)
			}
		})
	}
}

func TestVerifyFindsWrongDigests(t *testing.T) {
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: vfs.NewMem()})
	defer m.stop()
	if _, err := m.Bus(m.Owner()).Write(t.Context(), "me", []sennit.Change{{Kind: sennit.KindPut, Path: "a"}}); err != nil {
		t.Fatal(err)
	}
	trie, err := m.Trie(t.Context(), m.Self().Space)
	if err != nil {
		t.Fatal(err)
	}
	if err := trie.Done(); err != nil {
		t.Fatal(err)
	}
	num, _ := m.st.Space(m.Self().Space)
	edit := m.st.EditTrie(num, 0)
	if err := tree.Update(edit, []tree.Change{{Path: "b", Names: []wire.OpRef{{Index: 1}}}}); err != nil {
		t.Fatal(err)
	}
	if err := edit.Commit(trie.N); err != nil {
		t.Fatal(err)
	}
	if found, err := m.Verify(t.Context(), func(uint64, uint64) {}); err != nil || len(found) != 1 || !strings.Contains(found[0].What, "digests") {
		t.Errorf("%q, %v", found, err)
	}
}

func TestVerifyCanBeGivenUp(t *testing.T) {
	fs := vfs.NewMem()
	m := boot(t, &machine{id: newIdentity(t, "owner"), fs: fs})
	defer m.stop()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Verify(ctx, func(uint64, uint64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if list, err := fs.List(""); err != nil || len(list) != 1 {
		t.Errorf("it leaves %q, %v", list, err)
	}
}

// TestVerifyAfterWatchesStartedOver: in the order of arrival, that watches
// start over has a place that no commit has.
func TestVerifyAfterWatchesStartedOver(t *testing.T) {
	for _, name := range []string{"owner", "left", "right"} {
		newIdentity(t, name)
	}
	if err := inBubble(t, func(f failer) {
		s := newScene(f, t, newChoices(1, 60))
		defer s.close()
		m := s.nodes[0]
		any := wire.Grant{Who: wire.Who{Subject: wire.SubjectAny}, May: sennit.Read}
		if _, err := m.Allow(context.Background(), m.Owner(), s.space, []wire.Grant{any}); err != nil {
			f.Fatalf("allow: %v", err)
		}
		s.fetch()
		s.admit(m)
		clock, auth := uint64(s.base.UnixMilli())<<16, s.heads[:1]
		values, late := newLog(s.space, s.space, s.spare, wire.Data, 1), newLog(s.space, s.space, s.spare, wire.Data, 2)
		var old []wire.Op
		for i := range 1001 {
			old = append(old, putOp(fmt.Sprint("x/", i), "old"))
		}
		values.write(f, clock, auth, old...)
		values.write(f, clock+2, auth, putOp("x/new", "new"))
		late.write(f, clock+1, auth, delOp("x", true))
		for _, l := range []*log{values, late} {
			if err := m.deliver(l.rec, l.whole(f)); err != nil {
				f.Fatalf("deliver: %v", err)
			}
		}
		m.whole(f, "the node")
	}); err != nil {
		t.Fatal(err)
	}
}
