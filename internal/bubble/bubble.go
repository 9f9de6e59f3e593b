// Package bubble runs tests in virtual time, also under the race detector.
package bubble

import (
	"testing"
	"testing/synctest"
)

// Test runs f as synctest.Test does.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer oneProcessor()()
	synctest.Test(t, f)
}
