package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sennit/sennit"
)

// A data directory holds
//
//	keys/        the identity (package keys)
//	store/       commits, ops and their index (package store)
//	blobs/       values above 64 KiB (package blob)
//	config.toml  optional: what is needed to start
//	ports        the port at which peers know this node, if it chose one itself
//	lock         who runs on it
//	sock         the unix socket of the node that runs
const (
	keysDir    = "keys"
	storeDir   = "store"
	blobsDir   = "blobs"
	configFile = "config.toml"
	portsFile  = "ports"
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
// one process at a time may. It fails with [sennit.Conflict] if another one
// has it, and with [sennit.BadInput] if the directory holds something else.
func OpenDirectory(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fileError("make the data directory", err)
	}
	if err := ours(path); err != nil {
		return nil, err
	}
	name := filepath.Join(path, lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError("open the lock of the data directory", err)
	}
	if taken, err := lock(f); err != nil || taken {
		f.Close()
		if taken {
			return nil, held(name, path)
		}
		return nil, fileError("lock the data directory", err)
	}
	b, err := json.Marshal(holder{os.Getpid(), time.Now()})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		return nil, errors.Join(fileError("write the lock of the data directory", err), f.Close())
	}
	return &Directory{path, f}, nil
}

// fileError gives an error of the file system a code. It names the file.
func fileError(doing string, err error) error {
	code := sennit.Internal
	switch {
	case errors.Is(err, fs.ErrPermission):
		code = sennit.Denied
	case notDirectory(err):
		code = sennit.BadInput
	case outOfSpace(err):
		code = sennit.ReadOnly
	}
	return sennit.Errorf(code, "%s: %w", doing, err)
}

// held says who has the lock.
func held(name, path string) error {
	const hint = "talk to the node that runs with the same --data, stop it, or use another directory"
	var h holder
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil || h.PID == 0 { // it is about to write who it is
		return sennit.Hint(sennit.Errorf(sennit.Conflict, "another process uses the data directory %s", path), hint)
	}
	return sennit.Hint(sennit.Errorf(sennit.Conflict, "process %d has used the data directory %s since %s", h.PID, path, h.Since.Format(time.DateTime)), hint)
}

// ours refuses a directory that holds something else.
func ours(path string) error {
	list, err := os.ReadDir(path)
	if err != nil {
		return fileError("look at the data directory", err)
	}
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	if slices.Contains(names, keysDir) {
		return nil
	}
	known := []string{storeDir, blobsDir, configFile, portsFile, lockFile, socketFile}
	for _, name := range names {
		// What package keys leaves when it is killed begins with the name of
		// its directory, and what replace leaves with that of the file.
		if !slices.Contains(known, name) && !strings.HasPrefix(name, keysDir+".") && !strings.HasPrefix(name, configFile+".new-") {
			return sennit.Hint(sennit.Errorf(sennit.BadInput, "%s is not a data directory of sennit: it holds %q", path, name),
				"name an empty directory, or one that doesn't exist yet")
		}
	}
	return nil
}

// Close gives the directory up. The lock file stays: removing it would let two
// processes hold different files of the same name.
func (d *Directory) Close() error { return d.lock.Close() }

// replace writes a small file so that a crash leaves the old content or the
// new, and returns when the new is durable.
func replace(path string, content []byte) (err error) {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, name+".new-*") // mode 0600
	if err != nil {
		return fileError("write "+path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // a file that nobody reads
			err = fileError("write "+path, err)
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil || runtime.GOOS == "windows" {
		return err // Windows can't sync a directory, and journals it
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
