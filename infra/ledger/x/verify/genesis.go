package verify

import (
	"context"
	"fmt"
)

// DefaultGenesis has no batches.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error { return g.Params.Validate() }

// InitGenesis loads g. The batches of a provider stand in order of sequence.
func (k Keeper) InitGenesis(ctx context.Context, g *GenesisState) error {
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	for _, b := range g.Batches {
		a, err := k.account(b.Provider)
		if err != nil {
			return err
		}
		last, err := k.Last(ctx, a)
		if err != nil {
			return err
		}
		if b.Sequence != last+1 {
			return fmt.Errorf("batch %d of %s follows batch %d", b.Sequence, b.Provider, last)
		}
		if err := b.validate(g.Params); err != nil {
			return fmt.Errorf("batch %d of %s: %w", b.Sequence, b.Provider, err)
		}
		if err := k.put(ctx, a, b); err != nil {
			return err
		}
	}
	return nil
}

// ExportGenesis returns the whole state, in order of provider and sequence.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &GenesisState{Params: p}
	err = k.batches.Walk(ctx, nil, func(_ batchKey, b Batch) (bool, error) {
		g.Batches = append(g.Batches, b)
		return false, nil
	})
	return g, err
}
