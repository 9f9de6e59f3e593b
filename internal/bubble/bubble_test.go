package bubble_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sennit/sennit/internal/bubble"
)

// TestManyTimersUnderTheRaceDetector needs -race to mean something: without
// bubble's precaution the detector ends the process with a segmentation fault.
func TestManyTimersUnderTheRaceDetector(t *testing.T) {
	for range 20 {
		bubble.Test(t, func(t *testing.T) {
			var group sync.WaitGroup
			for range 300 { // more than the detector has slots for
				group.Go(func() {
					for range 20 {
						due := time.NewTimer(time.Nanosecond)
						time.Sleep(time.Microsecond) // all wake at once
						<-due.C
					}
				})
			}
			group.Wait()
		})
	}
}
