package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
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
		g, ok, err := c.mislead(ctx, o, in)
		if err != nil || ok {
			return g, what, err
		}
	}
	return g, "", errors.New("no other sampler changes an answer")
}

// mislead plays the dispute about the answer to in, signed as that to o; ok is
// false where it is the same.
func (c *court) mislead(ctx context.Context, o *order, in core.SequenceInput) (g game, ok bool, err error) {
	got, err := generate(ctx, c.engine, []core.SequenceInput{in})
	if err != nil || !got[0].whole() {
		return g, false, err
	}
	ev, err := c.seal(o, got[0])
	if err != nil {
		return g, false, err
	}
	own, err := c.engine.Replay(ctx, o.in, ev.Output)
	if err != nil {
		return g, false, err
	}
	if slices.Equal(own.Tokens, ev.Output) && merkle.Root(own.Boundaries) == ev.Receipt.BoundaryRoot && own.Finish == ev.Receipt.Finish {
		return g, false, nil
	}
	claimed := core.Computation{Request: ev.Request.Head(), Finish: ev.Receipt.Finish, Input: o.in, Output: ev.Output, Root: ev.Receipt.BoundaryRoot, Boundaries: ev.Boundaries}
	claim, err := c.truth.Accuse(ctx, claimed, own)
	if err != nil {
		return g, false, fmt.Errorf("a wrong answer cannot be accused: %w", err)
	}
	g, err = play(ctx, c.judge, &ev.Receipt.Receipt, claim, honest(c.truth, claimed), honest(c.truth, claimed))
	return g, true, err
}
