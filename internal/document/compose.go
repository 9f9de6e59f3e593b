package document

import (
	"io"
	"iter"

	"github.com/sennit/sennit"
)

// Compose writes the document at a path as one JSON text. The leaves are those
// at the path and under it, in order of path. It holds the leaf that it is at,
// and of each directory above that the directory's own value, and writes in
// pieces of about 32 KiB.
//
// It fails with NotFound if there are no leaves, with Internal if they are not
// in order, and with the error that ends them or that w returns. What was
// written before is then a part of the document.
func Compose(w io.Writer, at sennit.Path, leaves iter.Seq2[Leaf, error]) error {
	c := composer{w: w, at: at}
	var last Leaf // not written yet: whether it is a directory, the next one tells
	any := false
	for leaf, err := range leaves {
		if err != nil {
			return err
		}
		if err := inOrder(at, last.Path, leaf.Path, !any); err != nil {
			return err
		}
		if any {
			err = c.write(&last, leaf.Path.Under(last.Path))
		} else if leaf.Path != at {
			c.open = append(c.open, directory{path: at})
			c.out = append(c.out, '{')
		}
		if err != nil {
			return err
		}
		last, any = leaf, true
	}
	if !any {
		return sennit.Errorf(sennit.NotFound, "there is no document at %.100q", at)
	}
	if err := c.write(&last, false); err != nil {
		return err
	}
	for len(c.open) > 0 {
		c.close()
	}
	return c.flush()
}

// flushAt is how many bytes are gathered before they are written.
const flushAt = 32 << 10

type composer struct {
	w    io.Writer
	at   sennit.Path
	read reader
	open []directory // from the document's top to where the composer is
	out  []byte
}

// directory is an object of which some members have been written.
type directory struct {
	path    sennit.Path
	own     []member // what the directory's own value adds, and is not written yet
	members bool     // some have been written
}

// write writes a leaf, or begins the object whose own value it is.
func (c *composer) write(leaf *Leaf, isDirectory bool) error {
	c.enter(leaf.Path)
	shown, reference := c.read.show(c.at, leaf)
	if isDirectory {
		c.open = append(c.open, directory{path: leaf.Path, own: additions(&shown, reference)})
		c.out = append(c.out, '{')
	} else {
		c.out = shown.append(c.out)
	}
	if len(c.out) < flushAt {
		return nil
	}
	return c.flush()
}

// additions are the members that a directory's own value adds to those that
// its children are: its own, if it is an object, else the one with the empty
// name. A child of the same name hides one.
func additions(own *value, reference bool) []member {
	if own.object && !reference {
		return own.members
	}
	return []member{{"", emptyName, *own}}
}

// enter ends and begins objects until the next thing to write is the value at
// a path.
func (c *composer) enter(p sennit.Path) {
	for len(c.open) > 0 && !p.Under(c.open[len(c.open)-1].path) {
		c.close()
	}
	for len(c.open) > 0 && c.open[len(c.open)-1].path != p {
		dir := &c.open[len(c.open)-1]
		comp := child(dir.path, p)
		c.additions(dir, comp)
		c.name(dir, Unescape(comp))
		below := p[:start(dir.path)+len(comp)]
		if below == p {
			return
		}
		c.open = append(c.open, directory{path: below})
		c.out = append(c.out, '{')
	}
}

// close ends the innermost object.
func (c *composer) close() {
	dir := &c.open[len(c.open)-1]
	c.additions(dir, "")
	c.out = append(c.out, '}')
	c.open = c.open[:len(c.open)-1]
}

// additions writes what a directory's own value adds before the child comp, or
// all that is left of it if comp is empty, and drops what the child hides.
func (c *composer) additions(dir *directory, comp string) {
	for len(dir.own) > 0 && (comp == "" || dir.own[0].comp < comp) {
		c.name(dir, dir.own[0].name)
		c.out = dir.own[0].value.append(c.out)
		dir.own = dir.own[1:]
	}
	if len(dir.own) > 0 && dir.own[0].comp == comp {
		dir.own = dir.own[1:]
	}
}

func (c *composer) name(dir *directory, name string) {
	if dir.members {
		c.out = append(c.out, ',')
	}
	dir.members = true
	c.out = append(appendQuoted(c.out, name), ':')
}

func (c *composer) flush() error {
	_, err := c.w.Write(c.out)
	c.out = c.out[:0]
	return err
}
