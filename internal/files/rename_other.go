//go:build !linux && !darwin

package files

import (
	"errors"
	"os"
)

func renameat(*os.File, string, *os.File, string, bool) error { return errors.ErrUnsupported }
