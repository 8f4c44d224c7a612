//go:build unix

package model

import (
	"syscall"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

func TestAnIdleEngineUsesNoProcessor(t *testing.T) {
	m := standard.open(t, Options{Threads: 4})
	s := start(t, m, core.SequenceInput{Input: prompt(m, 100, 1), Sampler: warm(10)})
	finish(t, m, s)
	s.Release()
	time.Sleep(20 * time.Millisecond) // the workers fall asleep
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	time.Sleep(400 * time.Millisecond)
	if got := used() - before; got > 40*time.Millisecond {
		t.Errorf("%v of processor time in 400 ms of idleness", got)
	}
}
