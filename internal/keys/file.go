package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/sennit/sennit"
)

// A key file is ASCII text, so that people, backups and secret scanners see
// what it is:
//
//	sennit <name of the file> <format>
//	<base64 of a record> (one line each, RFC 4648 section 4, no padding)
//	<check: the first 8 bytes of the SHA-256 of the lines above, in hexadecimal>
//
// Each line ends in one line feed. The check finds broken disks and careless
// editors; whether the files belong together is checked afterwards.
const fileFormat = 1

// maxFile bounds a key file in bytes. MaxEvents events of devices fit.
const maxFile = 1 << 20

// The key files. The words file is plain text: the recovery words and a line
// feed.
const (
	fileIdentity = "identity" // inception record, then the key events up to this device's own; public
	fileControl  = "control"  // seed of the control key
	fileDevice   = "device"   // seed of the device's signing key
	fileHPKE     = "hpke"     // the device's HPKE private key
	fileHost     = "host"     // seed of the transport's key
	fileWords    = "words"    // recovery words, until they were shown
)

func encodeFile(name string, records ...[]byte) []byte {
	b := fmt.Appendf(nil, "sennit %s %d\n", name, fileFormat)
	for _, r := range records {
		b = append(base64.RawStdEncoding.AppendEncode(b, r), '\n')
	}
	check := sha256.Sum256(b)
	return append(hex.AppendEncode(b, check[:8]), '\n')
}

// decodeFile gives the records of a key file. Its errors, here and below, show
// nothing of the file's text: it may be a key.
func decodeFile(name string, b []byte) ([][]byte, error) {
	head, _, _ := bytes.Cut(b, []byte("\n"))
	if version, ok := bytes.CutPrefix(head, []byte("sennit "+name+" ")); ok {
		if v, err := strconv.ParseUint(string(version), 10, 32); err == nil && v > fileFormat {
			return nil, sennit.Errorf(sennit.Unsupported, "it has format %d; this program reads format %d", v, fileFormat)
		}
	}
	unsound := func() ([][]byte, error) {
		return nil, sennit.Errorf(sennit.Internal, "it was altered or cut off, or is not the file %q", name)
	}
	lines := bytes.Split(b, []byte("\n"))
	if len(lines) < 3 {
		return unsound()
	}
	var records [][]byte
	for _, line := range lines[1 : len(lines)-2] { // between the head and the check, which a line feed ends
		r, err := base64.RawStdEncoding.Strict().AppendDecode(nil, line)
		if err != nil {
			return unsound()
		}
		records = append(records, r)
	}
	if !bytes.Equal(b, encodeFile(name, records...)) {
		return unsound()
	}
	return records, nil
}

// damaged says that a key file can't be used, why, and what to do.
func damaged(path string, cause error) error {
	code, hint := sennit.CodeOf(cause), "put the directory "+filepath.Dir(path)+" back from a backup"
	switch code {
	case sennit.Unsupported:
		hint = "install a newer version"
	case sennit.Denied:
		hint = "run this as the user to whom the file belongs"
	case sennit.BadInput:
		code = sennit.Internal // nobody asked for anything wrong: the file is
	}
	return sennit.Hint(sennit.Errorf(code, "the key file %s can't be used: %w", path, cause), hint)
}

// look tells the mode of the directory for keys, and what it holds.
func look(d disk, home string) (fs.FileMode, []string, error) {
	info, err := d.Stat(home)
	if err != nil {
		return 0, nil, diskError("look for an identity", err)
	}
	if !info.IsDir() {
		return 0, nil, inTheWay(home)
	}
	names, err := d.Names(home)
	if err != nil {
		return 0, nil, diskError("look for an identity", err)
	}
	return info.Mode(), names, nil
}

func inTheWay(path string) error {
	return sennit.Hint(sennit.Errorf(sennit.Conflict, "%s is in the way: it is not a directory", path), "move it away")
}

// readFile reads a whole key file that nobody else may read.
func readFile(d disk, path string) ([]byte, error) {
	info, err := d.Stat(path)
	if err != nil {
		return nil, damaged(path, diskError("look at it", err))
	}
	// Opening a pipe would wait for a writer.
	if !info.Mode().IsRegular() {
		return nil, damaged(path, sennit.Errorf(sennit.Internal, "it is not a regular file"))
	}
	if err := private(path, info.Mode(), 0o600); err != nil {
		return nil, err
	}
	f, err := d.Open(path)
	if err != nil {
		return nil, damaged(path, diskError("open it", err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, damaged(path, diskError("read it", err))
	}
	if len(b) > maxFile {
		return nil, damaged(path, sennit.Errorf(sennit.TooLarge, "it is larger than %d bytes", maxFile))
	}
	return b, nil
}

// private refuses a mode wider than most. Windows has no such modes: there a
// user's files are the user's own.
func private(path string, mode, most fs.FileMode) error {
	if runtime.GOOS == "windows" || mode.Perm()&^most == 0 {
		return nil
	}
	return sennit.Hint(sennit.Errorf(sennit.Denied, "%s holds keys and has mode %04o; others may have read or changed it", path, mode.Perm()),
		fmt.Sprintf("run: chmod %o %q", most, path))
}

// readSeed reads a key file that holds one secret of 32 bytes.
func readSeed(d disk, path string) ([]byte, error) {
	b, err := readFile(d, path)
	if err != nil {
		return nil, err
	}
	records, err := decodeFile(filepath.Base(path), b)
	if err == nil && (len(records) != 1 || len(records[0]) != 32) {
		err = sennit.Errorf(sennit.Internal, "it does not hold a key of 32 bytes")
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	return records[0], nil
}

// writeFile makes a new key file and returns when its bytes are durable. Its
// name is durable after the directory was synced.
func writeFile(d disk, path string, b []byte) error {
	f, err := d.Create(path)
	if err != nil {
		return diskError("make a key file", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return diskError("write a key file", err)
	}
	return nil
}
