package localnet

import (
	"context"
	"testing"
	"time"
)

// BenchmarkBlock is the time from block to block of four validators whose pause
// is that of a devnet.
func BenchmarkBlock(b *testing.B) {
	n := start(b, Options{Home: b.TempDir(), BlockTime: 200 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for b.Loop() {
		if err := n.Nodes[0].WaitBlock(ctx, n.Height()); err != nil {
			b.Fatal(err)
		}
	}
}
