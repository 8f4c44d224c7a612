package trial

import (
	"context"
	"errors"

	"github.com/koinon-network/koinon/core"
)

// misled plays a provider that computes truly and draws, or ends, otherwise than
// it was asked: under another sampler or from another seed.
func (c *court) misled(ctx context.Context) (g game, what string, err error) {
	for range 200 {
		o, err := c.newOrder(c.r, c.engine.Info())
		if err != nil {
			return g, "", err
		}
		in := o.in
		if what = "another sampler"; c.r.IntN(3) == 0 {
			what = "another seed"
			c.flip(in.Seed[:])
		} else {
			c.sampler(&in.Sampler)
		}
		g, ok, err := c.contest(ctx, c.engine, o, in, func(claimed core.Computation) (side, error) { return honest(c.truth, claimed), nil })
		if err != nil || ok {
			return g, what, err
		}
	}
	return g, "", errors.New("no other sampler changes an answer")
}
