package bench

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// forgetPeak frees what is not in use and makes the most there was start anew.
func forgetPeak() {
	for range 2 { // weights go in a cleanup, after the collection that finds them unused
		debug.FreeOSMemory()
		time.Sleep(50 * time.Millisecond)
	}
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // Linux; elsewhere the peak is not known either
}

// ResidentBytes is the memory of this process that is in use, and the most there was,
// in bytes; zeros where the system has no /proc.
func ResidentBytes() (now, peak int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			now = kilobytes << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			peak = kilobytes << 10
		}
	}
	return now, peak
}
