package beacon

import (
	"context"
	"errors"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// DefaultGenesis has no keys and no beacons.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error { return g.Params.Validate() }

// InitGenesis loads g and opens the round of the first block. The beacons stand
// in order of height.
func (k Keeper) InitGenesis(goCtx context.Context, g *GenesisState) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	for _, m := range g.Members {
		if err := k.initMember(ctx, m); err != nil {
			return fmt.Errorf("validator %x: %w", m.Consensus, err)
		}
	}
	first := max(ctx.BlockHeight(), 1)
	last := int64(0)
	for _, b := range g.Beacons {
		if b.Height <= last || b.Height >= first || len(b.Value) != 32 {
			return fmt.Errorf("beacon %d after beacon %d, before block %d, with %d bytes", b.Height, last, first, len(b.Value))
		}
		last = b.Height
		if err := k.beacons.Set(ctx, b.Height, b); err != nil {
			return err
		}
	}
	return k.openRound(ctx, first)
}

func (k Keeper) initMember(ctx context.Context, m Member) error {
	if len(m.Consensus) != 20 || len(m.Keys) < 1 || len(m.Keys) > 2 {
		return errors.New("needs an address of 20 bytes, and one or two keys")
	}
	if _, err := k.operator(m.Operator); err != nil {
		return err
	}
	if known, err := k.members.Has(ctx, m.Consensus); err != nil || known {
		return fmt.Errorf("occurs twice (%v)", err)
	}
	for i, key := range m.Keys {
		if i > 0 && key.From <= m.Keys[i-1].From {
			return errors.New("its keys stand in order of their first height")
		}
		if err := checkKey(key.Public); err != nil {
			return err
		}
		if taken, err := k.owners.Has(ctx, key.Public); err != nil || taken {
			return fmt.Errorf("its key belongs to another validator (%v)", err)
		}
	}
	return k.putMember(ctx, m)
}

// ExportGenesis returns the keys and beacons. Rounds in progress are not part of
// it: the new chain's first heights have no beacon in their place.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &GenesisState{Params: p}
	err = k.members.Walk(ctx, nil, func(_ []byte, m Member) (bool, error) {
		g.Members = append(g.Members, m)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	err = k.beacons.Walk(ctx, nil, func(_ int64, b Beacon) (bool, error) {
		g.Beacons = append(g.Beacons, b)
		return false, nil
	})
	return g, err
}
