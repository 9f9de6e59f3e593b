package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sennit/sennit"
)

// A data directory holds
//
//	keys/        the identity (package keys)
//	store/       commits, ops and their index (package store)
//	config.toml  optional
//	lock         who runs on it
//	sock         the unix socket of the node that runs
const (
	storeDir   = "store"
	keysDir    = "keys"
	lockFile   = "lock"
	socketFile = "sock"
)

// holder is what the lock file says of the process that holds it.
type holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// Directory is a data directory that this process holds.
type Directory struct {
	Path string
	lock *os.File
}

// Socket is the path of the unix socket of a data directory's node.
func Socket(data string) string { return filepath.Join(data, socketFile) }

// OpenDirectory makes a data directory if there is none, and takes hold of it:
// one process at a time may.
func OpenDirectory(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, sennit.Errorf(sennit.Internal, "make the data directory: %w", err)
	}
	if err := ours(path); err != nil {
		return nil, err
	}
	name := filepath.Join(path, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, sennit.Errorf(sennit.Internal, "open the lock of the data directory: %w", err)
	}
	if err := lockFd(f); err != nil {
		f.Close()
		return nil, held(name, path)
	}
	if b, err := json.Marshal(holder{os.Getpid(), time.Now()}); err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, b))
		if err != nil {
			return nil, errors.Join(sennit.Errorf(sennit.Internal, "write the lock of the data directory: %w", err), f.Close())
		}
	}
	return &Directory{path, f}, nil
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// held says who has the lock.
func held(name, path string) error {
	var h holder
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil || h.PID == 0 {
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "another process uses the data directory %s", path), "use another one: --data DIR")
	}
	return sennit.Hint(sennit.Errorf(sennit.Conflict, "process %d has used the data directory %s since %s", h.PID, path, h.Since.Format(time.DateTime)),
		"talk to the node that runs with the same --data, stop it, or use another directory")
}

// ours refuses a directory that holds something else.
func ours(path string) error {
	list, err := os.ReadDir(path)
	if err != nil {
		return sennit.Errorf(sennit.Internal, "look at the data directory: %w", err)
	}
	for _, e := range list {
		switch e.Name() {
		case keysDir, storeDir, lockFile, socketFile, "config.toml":
		default:
			if !exists(filepath.Join(path, keysDir)) {
				return sennit.Hint(sennit.Errorf(sennit.BadInput, "%s is not a data directory of sennit: it holds %q", path, e.Name()),
					"name an empty directory, or one that doesn't exist yet")
			}
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Close gives the directory up. The lock file stays: removing it would let two
// processes hold different files of the same name.
func (d *Directory) Close() error { return d.lock.Close() }
