package files

import (
	"context"
	"errors"
	"io"
	"mime"
	"path"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"lukechampine.com/blake3"

	"github.com/sennit/sennit"
)

// content is what a file or a value holds: what two of them are compared by.
type content struct {
	hash sennit.Hash // BLAKE3, as in [sennit.Blob]
	size uint64
	exec bool // it is a program
}

// chunk is how much of a large file or value is held at a time, in bytes.
const chunk = 256 << 10

// hashOf hashes what a reader gives.
func hashOf(r io.Reader) (h sennit.Hash, size uint64, err error) {
	hasher := blake3.New(len(h), nil)
	n, err := io.CopyBuffer(hasher, onlyReader{r}, make([]byte, chunk))
	hasher.Sum(h[:0])
	return h, uint64(n), err
}

// onlyReader hides the methods of a reader that would go around a buffer.
type onlyReader struct{ io.Reader }

// valueReader reads a value's bytes in order.
type valueReader struct {
	ctx context.Context
	sennit.Content
	at int64
}

func (r *valueReader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(r.ctx, p, r.at)
	r.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // the next call says it
	}
	return n, err
}

// keepsMode is whether files here say whether they are programs.
const keepsMode = runtime.GOOS != "windows"

// modeParam is the parameter of a media type that says that a file is a program.
const modeParam = "; mode=755"

// isExec reports whether a media type says that the value is a program.
func isExec(typ string) bool {
	if !strings.Contains(typ, "mode") {
		return false
	}
	_, params, err := mime.ParseMediaType(typ)
	if err != nil {
		return false
	}
	mode, err := strconv.ParseUint(params["mode"], 8, 12)
	return err == nil && mode&0o111 != 0
}

// typeOf is the media type of a file, from its name and its beginning. Of text
// it says that it is UTF-8 if the beginning is.
func typeOf(name string, exec bool, beginning []byte) string {
	text := isText(beginning)
	typ := byExtension(strings.ToLower(path.Ext(name)))
	switch {
	case typ == "" && text:
		typ = "text/plain; charset=utf-8"
	case strings.HasPrefix(typ, "text/") && text:
		typ += "; charset=utf-8"
	case typ == "" && exec:
		typ = "application/octet-stream"
	}
	if exec {
		typ += modeParam
	}
	return typ
}

// isText reports whether bytes are UTF-8, but for a character that may be cut
// off at the end of the beginning of a larger file.
func isText(b []byte) bool {
	if len(b) < sennit.MaxInline {
		return utf8.Valid(b)
	}
	for cut := range utf8.UTFMax {
		if utf8.Valid(b[:len(b)-cut]) {
			return true
		}
	}
	return false
}

// byExtension is a media type that IANA has registered, or "". The system's own
// table differs from machine to machine, and so would the values.
func byExtension(ext string) string {
	switch ext {
	case ".txt":
		return "text/plain"
	case ".html", ".htm":
		return "text/html"
	case ".css":
		return "text/css"
	case ".js", ".mjs":
		return "text/javascript"
	case ".md", ".markdown":
		return "text/markdown"
	case ".csv":
		return "text/csv"
	case ".ics":
		return "text/calendar"
	case ".vcf":
		return "text/vcard"
	case ".json":
		return "application/json"
	case ".xml":
		return "application/xml"
	case ".yaml", ".yml":
		return "application/yaml"
	case ".pdf":
		return "application/pdf"
	case ".zip":
		return "application/zip"
	case ".gz":
		return "application/gzip"
	case ".zst":
		return "application/zstd"
	case ".wasm":
		return "application/wasm"
	case ".epub":
		return "application/epub+zip"
	case ".rtf":
		return "application/rtf"
	case ".odt":
		return "application/vnd.oasis.opendocument.text"
	case ".ods":
		return "application/vnd.oasis.opendocument.spreadsheet"
	case ".docx":
		return "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	case ".xlsx":
		return "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	case ".pptx":
		return "application/vnd.openxmlformats-officedocument.presentationml.presentation"
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".avif":
		return "image/avif"
	case ".heic":
		return "image/heic"
	case ".svg":
		return "image/svg+xml"
	case ".bmp":
		return "image/bmp"
	case ".tif", ".tiff":
		return "image/tiff"
	case ".ico":
		return "image/vnd.microsoft.icon"
	case ".mp3":
		return "audio/mpeg"
	case ".m4a":
		return "audio/mp4"
	case ".ogg", ".oga", ".opus":
		return "audio/ogg"
	case ".flac":
		return "audio/flac"
	case ".mp4", ".m4v":
		return "video/mp4"
	case ".webm":
		return "video/webm"
	case ".mov":
		return "video/quicktime"
	case ".woff":
		return "font/woff"
	case ".woff2":
		return "font/woff2"
	case ".ttf":
		return "font/ttf"
	case ".otf":
		return "font/otf"
	}
	return ""
}
