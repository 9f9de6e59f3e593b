package httpdoor

import (
	"mime"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
)

// compressFrom is how many bytes an answer has that is compressed: what is smaller
// fits into a packet anyway.
const compressFrom = 1400

// gzipTag ends the ETag of a compressed answer, whose bytes are others than those
// of the same version that isn't (RFC 9110 section 8.8.3.3). In conditions it is
// taken for that.
const gzipTag = "-gzip"

// newCompressor makes a wrapper that compresses answers of a type for which that
// is of use, for clients that say that they understand it.
func newCompressor() (func(http.Handler) http.HandlerFunc, error) {
	return gzhttp.NewWrapper(gzhttp.MinSize(compressFrom), gzhttp.SuffixETag(gzipTag), gzhttp.EnableZstd(false), gzhttp.ContentTypeFilter(gains))
}

// gains reports whether content of a type gets smaller: text does, and what is of
// no type may; pictures and archives are compressed already.
func gains(typ string) bool {
	main, _, err := mime.ParseMediaType(typ)
	if err != nil {
		return false
	}
	switch main {
	case "application/json", "application/javascript", "application/xml", "application/wasm", plainType:
		return true
	}
	return strings.HasPrefix(main, "text/") || strings.HasSuffix(main, "+json") || strings.HasSuffix(main, "+xml")
}

// compressible reports whether the answer to a GET may be compressed: not that of
// a subscription, of which each update has to go out, or of a range, which is one
// of the bytes as they are.
func compressible(r *http.Request) bool {
	h := r.Header
	return r.Method == http.MethodGet && h["Accept-Encoding"] != nil && h["Range"] == nil && h["Parents"] == nil && !wanted(h) && !subscribes(h)
}

// uncompressed is the writer below one that compresses. What is large is sent as it
// is: to compress it takes longer than to send it over most lines, and if it breaks
// off, only its length tells.
func uncompressed(w http.ResponseWriter) http.ResponseWriter {
	switch g := w.(type) {
	case *gzhttp.GzipResponseWriter:
		return g.Unwrap()
	case gzhttp.GzipResponseWriterWithCloseNotify:
		return g.Unwrap()
	}
	return w
}

// plainTag is the tag of what isn't compressed, of the version that a tag names.
func plainTag(tag string) string {
	if v, ok := strings.CutSuffix(tag, gzipTag+`"`); ok {
		return v + `"`
	}
	return tag
}
