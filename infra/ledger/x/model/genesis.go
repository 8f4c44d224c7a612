package model

import (
	"context"
	"fmt"
	"slices"
)

// DefaultGenesis has no models.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error { return g.Params.Validate() }

// InitGenesis loads g. Parents come before their children in order of depth.
func (k Keeper) InitGenesis(ctx context.Context, g *GenesisState) error {
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	models := slices.Clone(g.Models)
	slices.SortStableFunc(models, func(a, b Model) int { return int(a.Depth) - int(b.Depth) })
	s := msgServer{k}
	for _, m := range models {
		if err := k.check(g.Params, m); err != nil {
			return fmt.Errorf("model %q: %w", m.Name, err)
		}
		if err := s.unused(ctx, m); err != nil {
			return err
		}
		if d, err := k.depth(ctx, g.Params, m); err != nil || d != m.Depth {
			return fmt.Errorf("model %q: depth %d, have %d: %w", m.Name, d, m.Depth, err)
		}
		if err := k.put(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// ExportGenesis returns the whole state, in order of id.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &GenesisState{Params: p}
	err = k.models.Walk(ctx, nil, func(_ []byte, m Model) (bool, error) {
		g.Models = append(g.Models, m)
		return false, nil
	})
	return g, err
}
