package convert

import (
	"io"
	"runtime"
	"sync"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Progress is told how many of total bytes of the result are made.
type Progress func(done, total int64)

// source reads rows first to first+n-1 of a tensor into dst.
type source func(dst []float32, first, n int) error

// bandValues is about how many values a thread converts at a time. Tests lower it.
var bandValues = 1 << 20

// encode writes rows*cols values as type t, band by band on all threads.
func encode(w io.Writer, t gguf.Type, rows, cols int, read source) error {
	band := max(1, bandValues/cols)
	threads := min(runtime.GOMAXPROCS(0), (rows+band-1)/band)
	values, encoded, failed := make([][]float32, threads), make([][]byte, threads), make([]error, threads)
	for first := 0; first < rows; first += threads * band {
		var wait sync.WaitGroup
		for i := range threads {
			at := first + i*band
			n := min(band, rows-at)
			encoded[i] = nil
			if n <= 0 {
				continue
			}
			wait.Go(func() {
				if values[i] == nil {
					values[i] = make([]float32, band*cols)
				}
				dst := values[i][:n*cols]
				if failed[i] = read(dst, at, n); failed[i] == nil {
					encoded[i], failed[i] = gguf.Quantize(t, dst)
				}
			})
		}
		wait.Wait()
		for i := range threads {
			if failed[i] != nil {
				return failed[i]
			}
			if _, err := w.Write(encoded[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
