package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
)

func (a *app) get() *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use: "get PATH", Short: "print the value at a path",
		Long:              "Prints the bytes of the value, and nothing else. A path without a leading slash\nis in your own space: notes/a is /me/notes/a. With a slash at the end of the path it\nprints all that is there as a JSON document: indented for a terminal, else, and with\n--json, in one line.\n\nOf a space that isn't followed, a value is asked of those whom this node knows, and\nnot kept: that takes some seconds, at most 20.\n\nWith --at it prints what was there at a version, if that is still held:\nsennit history --json lists the versions. To read a counter at a version takes a look through all that is held\nof the space.",
		Example:           "  sennit get notes/hello\n  sennit get /@bob/posts/1\n  sennit get notes/\n  sennit get notes/hello --at $VERSION",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, subtree, err := parseSubtree(args[0])
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if subtree && version != "" {
				return sennit.Hint(sennit.Errorf(sennit.Unsupported, "only values have versions, not subtrees"), "leave the slash at the end away")
			}
			if subtree {
				return a.document(cmd.Context(), c, at)
			}
			var n sennit.Node
			var content sennit.Content
			if cmd.Flags().Changed("at") {
				n, content, err = c.At(cmd.Context(), at, sennit.Version(version))
			} else {
				n, content, err = c.Open(cmd.Context(), at)
			}
			if err != nil {
				return err
			}
			defer content.Close()
			if a.json {
				return a.print(describe(sennit.Update{Kind: sennit.Set, Node: n}, at.Root))
			}
			last, err := a.copyOut(cmd.Context(), content)
			if err == nil && a.seen && last != '\n' {
				a.line("") // for whoever types the next command
			}
			return err
		},
	}
	cmd.Flags().StringVar(&version, "at", "", "print what was there at this version")
	return cmd
}

// copyOut prints a content, and tells its last byte.
func (a *app) copyOut(ctx context.Context, c sennit.Content) (last byte, err error) {
	buf := make([]byte, 256<<10)
	for at := int64(0); err == nil; {
		var n int
		if n, err = c.ReadAt(ctx, buf, at); n > 0 {
			at, last = at+int64(n), buf[n-1]
			if _, werr := a.out.Write(buf[:n]); werr != nil {
				return last, sennit.Errorf(sennit.Internal, "write the result: %w", werr)
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return last, err
}

func (a *app) set() *cobra.Command {
	var typ string
	cmd := &cobra.Command{
		Use: "set PATH VALUE|-|@FILE", Short: "set the value at a path",
		Long:              "Sets a value: the argument itself, standard input for -, or a file for @FILE, of\nwhatever size. It returns when the value is on disk.\n\nWith a slash at the end of the path the value is a JSON document of at most 4 MiB, and\nbecomes all that is there: what it doesn't have is deleted. Only what differs is\nwritten. With --json, the version is empty if nothing does.",
		Example:           "  sennit set notes/hello 'hello, world'\n  sennit set pictures/cat @cat.png --type image/png\n  date | sennit set notes/today -\n  sennit set recipes/soup/ '{\"serves\":4,\"needs\":[\"peas\",\"mint\"]}'",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, subtree, err := parseSubtree(args[0])
			if err != nil {
				return err
			}
			if subtree && typ != "" {
				return usageError{errors.New("--type has no place here: with a slash at the end of the path, the value is a JSON document")}
			}
			if subtree {
				err := a.writeDocument(cmd.Context(), at, args[1], (*client.Client).PutDocument)
				if sennit.CodeOf(err) == sennit.BadInput && sennit.HintOf(err) == "" {
					err = sennit.Hint(err, "without the slash at the end of the path it can be any value")
				}
				return err
			}
			from, err := a.value(args[1])
			if err != nil {
				return err
			}
			defer from.Close()
			// Up to this much a value is one change like any other.
			data, err := io.ReadAll(io.LimitReader(from, sennit.MaxInline+1))
			if err != nil {
				return sennit.Errorf(sennit.BadInput, "read the value: %w", err)
			}
			if len(data) <= sennit.MaxInline {
				if typ == "" && utf8.Valid(data) {
					typ = textType
				}
				return a.write(cmd.Context(), at.Root, sennit.Change{Kind: sennit.KindPut, Path: at.Path, Value: sennit.Value{Type: typ, Data: data}})
			}
			return a.put(cmd.Context(), at, typ, io.MultiReader(bytes.NewReader(data), from))
		},
	}
	cmd.Flags().StringVar(&typ, "type", "", "media `TYPE` (default text/plain for text of up to 64 KiB)")
	return cmd
}

const textType = "text/plain; charset=utf-8"

// value opens what an argument stands for.
func (a *app) value(arg string) (io.ReadCloser, error) {
	if name, file := strings.CutPrefix(arg, "@"); file {
		f, err := os.Open(name)
		if err != nil {
			return nil, sennit.Errorf(sennit.BadInput, "read the value: %w", err)
		}
		return f, nil
	}
	if arg == "-" {
		return io.NopCloser(a.in), nil
	}
	return io.NopCloser(strings.NewReader(arg)), nil
}

// put sets a value of any size.
func (a *app) put(ctx context.Context, at sennit.Addr, typ string, from io.Reader) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := c.Put(ctx, at, typ, from, nil)
	if err == nil && a.json {
		err = a.print(written{v})
	}
	return err
}

func (a *app) append() *cobra.Command {
	var typ string
	cmd := &cobra.Command{
		Use: "append PATH VALUE|-|@FILE", Short: "add bytes to the end of the stream at a path",
		Long:              "Adds the argument itself, standard input for -, or a file for @FILE, to the end of\nthe stream at a path. What comes in on standard input is added as it comes. What\nseveral people add is kept in one order, the same for everybody. A value that was\nset at the path is a thing of its own: what is shown is the newer of the two. It\nreturns when the bytes are on disk.",
		Example:           "  sennit append journal/today 'it rained'\n  date | sennit append logs/dates -",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(args[0])
			if err != nil {
				return err
			}
			from, err := a.value(args[1])
			if err != nil {
				return err
			}
			defer from.Close()
			return a.appendAll(cmd.Context(), at, typ, from)
		},
	}
	cmd.Flags().StringVar(&typ, "type", "", "media `TYPE` of the stream, if there is none yet (default text/plain for text)")
	return cmd
}

// appendAll adds what comes in to a stream, in chunks of what there is at a time.
func (a *app) appendAll(ctx context.Context, at sennit.Addr, typ string, from io.Reader) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Get(ctx, at)
	begins := sennit.CodeOf(err) == sennit.NotFound
	buf := make([]byte, sennit.MaxInline)
	var v sennit.Version
	for first := true; ; first = false {
		n, err := from.Read(buf)
		if n > 0 {
			change := sennit.Change{Kind: sennit.KindAppend, Path: at.Path, Value: sennit.Value{Data: buf[:n]}}
			if first && (begins || typ != "") {
				if change.Value.Type = typ; typ == "" && utf8.Valid(buf[:n]) {
					change.Value.Type = textType
				}
			}
			if v, err = c.Write(ctx, at.Root, []sennit.Change{change}); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sennit.Errorf(sennit.BadInput, "read what is to be appended: %w", err)
		}
	}
	if a.json {
		return a.print(written{v})
	}
	return nil
}

// written is what commands print with --json that change values.
type written struct {
	Version sennit.Version `json:"version"` // of what was written; "" if nothing changed
}

func (a *app) write(ctx context.Context, root string, change sennit.Change) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := c.Write(ctx, root, []sennit.Change{change})
	if err == nil && a.json {
		err = a.print(written{v})
	}
	return err
}

func (a *app) add() *cobra.Command {
	return &cobra.Command{
		Use: "add PATH N", Short: "add to the counter at a path",
		Long:              "Adds a whole number to a counter, which begins at 0. What several people add at the\nsame time adds up. A value that was set at the path is a thing of its own: what is\nshown is the newer of the two. It returns when the step is on disk.",
		Example:           "  sennit add polls/lunch/pizza 1\n  sennit add stock/apples -3",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(args[0])
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return sennit.Errorf(sennit.BadInput, "%.40q is not a whole number of 64 bits", args[1])
			}
			return a.write(cmd.Context(), at.Root, sennit.Change{Kind: sennit.KindAdd, Path: at.Path, Delta: n})
		},
	}
}

var negative = regexp.MustCompile(`^-[0-9]+$`)

// steps lets "add PATH -3" mean what it says: a negative number isn't a flag.
func steps(args []string) []string {
	i := slices.IndexFunc(args, negative.MatchString)
	if i < 2 || args[i-2] != "add" || slices.Contains(args, "--") {
		return args
	}
	n := args[i]
	return append(slices.Delete(slices.Clone(args), i, i+1), "--", n)
}

func (a *app) remove() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use: "rm PATH", Short: "delete the value at a path",
		Long:              "Deletes a value, whether or not it is there; with -r everything under it as well.",
		Example:           "  sennit rm notes/hello\n  sennit rm -r notes",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(strings.TrimSuffix(args[0], "/"))
			if err != nil {
				return err
			}
			return a.write(cmd.Context(), at.Root, sennit.Change{Kind: sennit.KindDel, Path: at.Path, Deep: deep})
		},
	}
	cmd.Flags().BoolVarP(&deep, "recursive", "r", false, "and everything under it")
	return cmd
}

func (a *app) list() *cobra.Command {
	path := func(args []string) (sennit.Addr, error) {
		return sennit.ParseAddr(strings.TrimSuffix(strings.Join(args, ""), "/"))
	}
	cmd := &cobra.Command{
		Use: "ls [PATH]", Short: "list the children of a path",
		Long:              "Prints a name a line; what has children of its own ends in a slash. Of a space that\nisn't followed, those whom this node knows are asked: see sennit get --help\n\nWith --json it prints an object a line; with --watch as well, an array of them each\ntime that there are others.",
		Example:           "  sennit ls\n  sennit ls /@bob/posts\n  sennit ls notes --watch",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := path(args)
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			all := []entry{}
			for o := (sennit.Listing{Limit: 10_000}); ; {
				entries, more, err := c.List(cmd.Context(), at, o)
				if err != nil {
					return err
				}
				for _, e := range entries {
					o.After = e.Name
					if a.watching && a.json {
						all = append(all, entry(e))
					} else if err := a.entry(entry(e)); err != nil {
						return err
					}
				}
				if more {
					continue
				}
				if a.watching && a.json {
					return a.print(all)
				}
				return nil
			}
		},
	}
	return a.watchable(cmd, func(ctx context.Context, args []string) (waiter, error) {
		at, err := path(args)
		if err != nil {
			return nil, err
		}
		return a.changesUnder(ctx, at)
	})
}

// entry is a child as ls --json prints it.
type entry struct {
	Name  string `json:"name"`  // one component of a path
	Value bool   `json:"value"` // it has a value
	Dir   bool   `json:"dir"`   // it has children
}

func (a *app) entry(e entry) error {
	if a.json {
		return a.print(e)
	}
	if e.Value {
		a.line("%s", e.Name)
	}
	if e.Dir {
		a.line("%s/", e.Name)
	}
	return nil
}

// digested is what digest --json prints.
type digested struct {
	Cursor string `json:"cursor"` // of what has arrived, for --since
	Digest string `json:"digest"` // hash of the state
	Ops    uint64 `json:"ops"`    // live ops that it is of
}

func (a *app) digest() *cobra.Command {
	return &cobra.Command{
		Use: "digest [PATH]", Short: "print the digest of a subtree",
		Long:              "Prints a hash of the state at and under a path. Two nodes hold the same there if\nand only if they print the same.",
		Example:           "  sennit digest\n  sennit digest /@bob/posts",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := sennit.ParseAddr(strings.TrimSuffix(strings.Join(args, ""), "/"))
			if err != nil {
				return err
			}
			c, err := a.client(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := c.Digest(cmd.Context(), at)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(digested{cursorText(d.Cursor), d.Hash.String(), d.Ops})
			}
			a.line("%s", d.Hash)
			return nil
		},
	}
}

func (a *app) watch() *cobra.Command {
	var since string
	var tail, exact, messages bool
	var newest int
	cmd := &cobra.Command{
		Use: "watch PATH...", Short: "print values and every later change",
		Long: `Prints what is at and under the paths, and then every change, until it is
interrupted. Where the connection to the node breaks it goes on by itself.

With --json it prints JSON Lines: the snapshot, {"live":true}, then changes, each
{"path","kind","value"|"base64"|"blob"|"stream","type","author","version","cursor"}.
Of kind "append" the value is what a stream grew by; "blob" and "stream" tell what a
large value is, without its bytes. With --messages live messages come as well, of kind
"message" and with "until", when they are void; they have no version and no cursor, and
are not part of what --since goes on from. Changes of one value that come faster than they
are read are reported once, by the last; --tail reports each one. "cursor" is for
--since.`,
		Example:           "  sennit watch notes --json\n  sennit watch '/@follows/*/posts' --newest 50\n  sennit watch notes --tail --since $CURSOR\n  sennit watch doc --messages",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completePaths(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			var patterns []sennit.Pattern
			for _, arg := range args {
				p, err := sennit.ParsePattern(arg, exact)
				if err != nil {
					return err
				}
				patterns = append(patterns, p)
			}
			o := sennit.WatchOptions{Tail: tail, Newest: newest, Messages: messages}
			if since != "" {
				var err error
				if o.Since, err = parseCursor(since); err != nil {
					return err
				}
			}
			return a.stream(cmd.Context(), patterns, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "go on after this `CURSOR`, without a snapshot")
	f.BoolVar(&tail, "tail", false, "every change, in order of arrival")
	f.BoolVar(&messages, "messages", false, "live messages as well")
	f.BoolVar(&exact, "exact", false, "only the values at the paths, not what is under them")
	f.IntVar(&newest, "newest", 0, "only the newest `N` values in the snapshot, newest first")
	return cmd
}

// stream prints what a watch gives.
func (a *app) stream(ctx context.Context, patterns []sennit.Pattern, o sennit.WatchOptions) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := c.Watch(ctx, patterns, o)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		updates, err := w.Next(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		for _, u := range updates {
			if err := a.update(u); err != nil {
				return err
			}
		}
		if err := a.out.Flush(); err != nil {
			return sennit.Errorf(sennit.Internal, "write the result: %w", err)
		}
	}
}

func (a *app) update(u sennit.Update) error {
	if a.json {
		return a.print(describe(u, u.Space.String()))
	}
	path := sennit.Addr{Root: u.Space.String(), Path: u.Node.Path}.String()
	switch u.Kind {
	case sennit.Set:
		a.line("%s %s", path, summary(u.Node.Value))
	case sennit.Appended:
		a.line("%s + %s", path, oneLine(u.Node.Value.Data))
	case sennit.Message:
		a.line("%s from %s: %s", path, u.Node.Author.Space, oneLine(u.Node.Value.Data))
	case sennit.Deleted:
		if u.Deep {
			path += "/"
		}
		a.line("%s deleted", path)
	case sennit.Live:
		a.note("(live)")
	case sennit.Reset:
		a.note("(starting over)")
	}
	return nil
}

// change is an update as watch --json prints it.
type change struct {
	Path    string          `json:"path,omitempty"`    // address
	Kind    string          `json:"kind,omitempty"`    // "set", "append", "delete", "delete-deep", "message" or "reset"
	Value   json.RawMessage `json:"value,omitempty"`   // bytes: as they are if their media type is JSON's, unless they were appended, else as a string
	Base64  string          `json:"base64,omitempty"`  // bytes that are no text
	Blob    *blob           `json:"blob,omitempty"`    // a large value, without its bytes
	Stream  uint64          `json:"stream,omitempty"`  // a long stream, without its bytes: how many it has
	Late    bool            `json:"late,omitempty"`    // of "append": the bytes belong before some that came earlier
	Type    string          `json:"type,omitempty"`    // media type
	Author  string          `json:"author,omitempty"`  // space of who wrote it
	Version sennit.Version  `json:"version,omitempty"` // what get --at takes
	Time    string          `json:"time,omitempty"`    // a time: when it was written, by the author's clock
	Until   string          `json:"until,omitempty"`   // a time, of "message": when it is void
	Live    bool            `json:"live,omitempty"`    // what follows happens now
	Cursor  string          `json:"cursor,omitempty"`  // what --since goes on after
}

// blob names a large value.
type blob struct {
	Root string `json:"root"` // hash of the bytes: BLAKE3, in hex
	Size uint64 `json:"size"` // bytes
}

// summary is a value in one line.
func summary(v sennit.Value) string {
	switch {
	case v.Blob != nil:
		return fmt.Sprintf("(%d bytes)", v.Blob.Size)
	case v.Stream > 0:
		return fmt.Sprintf("(a stream of %d bytes)", v.Stream)
	}
	return oneLine(v.Data)
}

// isJSON reports whether a media type is JSON's or one of its kin (RFC 6839
// section 3.1).
func isJSON(typ string) bool {
	name, _, err := mime.ParseMediaType(typ)
	return err == nil && (name == "application/json" || strings.HasSuffix(name, "+json"))
}

// timeText is a time as --json prints it: RFC 3339, in milliseconds.
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func describe(u sennit.Update, root string) change {
	out := change{Cursor: cursorText(u.Cursor)}
	switch u.Kind {
	case sennit.Live:
		out.Live = true
		return out
	case sennit.Reset:
		out.Kind = "reset"
		return out
	case sennit.Deleted:
		if out.Kind = "delete"; u.Deep {
			out.Kind = "delete-deep"
		}
	case sennit.Appended:
		out.Kind, out.Late = "append", u.Late
	case sennit.Message:
		out.Kind, out.Until = "message", timeText(u.Until)
	default:
		out.Kind = "set"
	}
	n := u.Node
	out.Path = sennit.Addr{Root: root, Path: n.Path}.String()
	out.Type, out.Version, out.Stream = n.Value.Type, n.Version, n.Value.Stream
	if b := n.Value.Blob; b != nil {
		out.Blob = &blob{b.Root.String(), b.Size}
	}
	if !n.Author.Space.IsZero() {
		out.Author = n.Author.Space.String()
	}
	if !n.Time.IsZero() {
		out.Time = timeText(n.Time)
	}
	switch data := n.Value.Data; {
	case u.Kind == sennit.Deleted || out.Blob != nil || out.Stream > 0:
	case (u.Kind == sennit.Set || u.Kind == sennit.Message) && isJSON(out.Type) && json.Valid(data):
		out.Value = data
	case utf8.Valid(data):
		out.Value, _ = json.Marshal(string(data)) // a string always has a form in JSON
	default:
		out.Base64 = base64.StdEncoding.EncodeToString(data)
	}
	return out
}
