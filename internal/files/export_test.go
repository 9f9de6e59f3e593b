package files

import "io"

// OnStep calls f before everything that is done to the directory.
func (o *Options) OnStep(f func(doing, name string) error) { o.seam.step = f }

// OnStep calls f before everything that is done to the directory.
func (o *SyncOptions) OnStep(f func(doing, name string) error) { o.seam.step = f }

// Volatile syncs nothing: tests that have many small directories need not wait
// for the disk.
func (o *Options) Volatile() { o.seam.volatile = true }

// Volatile syncs nothing.
func (o *SyncOptions) Volatile() { o.seam.volatile = true }

// DecodeState reads a state file and writes it again.
func DecodeState(r io.Reader) ([]byte, error) {
	s, err := decodeState(r)
	if err != nil {
		return nil, err
	}
	return encodeState(s)
}

// TypeOf is the media type of a file.
func TypeOf(name string, exec bool, beginning []byte) string { return typeOf(name, exec, beginning) }

// IsExec reports whether a media type says that the value is a program.
func IsExec(typ string) bool { return isExec(typ) }
