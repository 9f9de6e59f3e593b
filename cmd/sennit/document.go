package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sennit/sennit"

	"github.com/sennit/sennit/client"
)

// maxDocument is how many bytes of a document, or of a patch, a node takes.
const maxDocument = 4 * sennit.MaxCommit

// parseSubtree parses an address. A slash at its end says that all is meant
// that is there.
func parseSubtree(text string) (at sennit.Addr, subtree bool, err error) {
	text, subtree = strings.CutSuffix(text, "/")
	at, err = sennit.ParseAddr(text)
	return at, subtree, err
}

func (a *app) patch() *cobra.Command {
	return &cobra.Command{
		Use: "patch PATH PATCH|-|@FILE", Short: "change members of the JSON document at a path",
		Long: `Does a JSON merge patch (RFC 7396) to all that is at and under a path: members that
the patch names are set, those that are null in it are deleted, and objects are gone
into; all else stays. The patch is the argument itself, standard input for -, or a file
for @FILE, of at most 4 MiB and 4096 members. It returns when the change is on disk. With
--json, the version is empty if nothing changes.`,
		Example:           "  sennit patch recipes/soup/ '{\"serves\":6,\"needs\":null}'\n  sennit patch recipes/ @patch.json",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completePaths(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, _, err := parseSubtree(args[0])
			if err != nil {
				return err
			}
			return a.writeDocument(cmd.Context(), at, args[1], (*client.Client).PatchDocument)
		},
	}
}

// writeDocument reads what an argument stands for and writes it.
func (a *app) writeDocument(ctx context.Context, at sennit.Addr, arg string,
	write func(*client.Client, context.Context, sennit.Addr, []byte, *sennit.Hash) (sennit.Version, error),
) error {
	from, err := a.value(arg)
	if err != nil {
		return err
	}
	defer from.Close()
	data, err := io.ReadAll(io.LimitReader(from, maxDocument+1))
	switch {
	case err != nil:
		return sennit.Errorf(sennit.BadInput, "read the document: %w", err)
	case len(data) > maxDocument:
		return sennit.Hint(sennit.Errorf(sennit.TooLarge, "the document has more than %d bytes, which is the most that is written at once", maxDocument),
			"write it in parts: an object within it can be set as a document of its own")
	}
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := write(c, ctx, at, data, nil)
	if err == nil && a.json {
		err = a.print(written{v})
	}
	return err
}

// document prints the document at a path.
func (a *app) document(ctx context.Context, c *client.Client, at sennit.Addr) error {
	doc, _, err := c.Document(ctx, at)
	if err != nil {
		return err
	}
	defer doc.Close()
	if a.seen && !a.json {
		return indent(a.out, doc)
	}
	from := &source{Reader: doc}
	if _, err := io.Copy(a.out, from); from.err == nil && err != nil {
		return sennit.Errorf(sennit.Internal, "write the result: %w", err)
	}
	return from.err
}

// source remembers why reading ended, unless it was the end.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// indent prints a JSON text for people. Whoever wrote it must not be able to
// move the cursor of a terminal.
func indent(w io.Writer, doc io.Reader) error {
	from := &source{Reader: doc}
	// Both take what a node makes as it is: nothing is remembered to find errors.
	as := []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(true)}
	dec, enc := jsontext.NewDecoder(from, as...), jsontext.NewEncoder(printing{w}, append(as, jsontext.WithIndent("  "))...)
	for {
		t, err := dec.ReadToken()
		if errors.Is(err, io.EOF) && from.err == nil {
			return nil
		}
		if err == nil {
			err = enc.WriteToken(t)
		}
		switch {
		case from.err != nil:
			return from.err
		case err != nil:
			return sennit.Errorf(sennit.Internal, "print the document: %w", err)
		}
	}
}

// printing writes JSON, and escapes what is no letter, mark, number, sign or
// space. That stands only in strings.
type printing struct{ w io.Writer }

func (p printing) Write(text []byte) (int, error) {
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r1, r2 := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, r1, r2)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := p.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}
