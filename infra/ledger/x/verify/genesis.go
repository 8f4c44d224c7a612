package verify

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/engine/referee"
)

// DefaultGenesis has no batches and no disputes.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams(), Next: 1} }

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
	for _, m := range g.Models {
		if _, err := m.load(sdk.UnwrapSDKContext(ctx)); err != nil {
			return fmt.Errorf("model %x: %w", m.Model, err)
		}
		if err := k.models.Set(ctx, m.Model, m); err != nil {
			return err
		}
	}
	if err := k.next.Set(ctx, max(g.Next, 1)); err != nil {
		return err
	}
	for _, d := range g.Disputes {
		if err := k.initDispute(ctx, d, g.Next); err != nil {
			return fmt.Errorf("dispute %d: %w", d.Id, err)
		}
	}
	return nil
}

// initDispute stores a dispute and, when it is open, what refers to it.
func (k Keeper) initDispute(ctx context.Context, d Dispute, next uint64) error {
	if d.Id == 0 || d.Id >= next {
		return fmt.Errorf("the next id is %d", next)
	}
	if known, err := k.disputes.Has(ctx, d.Id); err != nil || known {
		return fmt.Errorf("the id occurs twice (%v)", err)
	}
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	if err := k.disputes.Set(ctx, d.Id, d); err != nil {
		return err
	}
	if d.Winner == referee.Challenger.String() {
		return k.convicted.Set(ctx, d.Receipt)
	}
	if d.Winner != "" {
		return nil
	}
	if err := referee.Decode(d.State, new(referee.State)); err != nil {
		return err
	}
	if err := k.open.Set(ctx, collections.Join(provider, d.Id)); err != nil {
		return err
	}
	if err := k.due.Set(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
		return err
	}
	return k.market.Freeze(ctx, provider)
}

// ExportGenesis returns the whole state, in order of provider and
// sequence. Receipts that were convicted without a dispute are not part of it.
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
	if err != nil {
		return nil, err
	}
	err = k.models.Walk(ctx, nil, func(_ []byte, m Admitted) (bool, error) {
		g.Models = append(g.Models, m)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	err = k.disputes.Walk(ctx, nil, func(_ uint64, d Dispute) (bool, error) {
		g.Disputes = append(g.Disputes, d)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	g.Next, err = k.next.Peek(ctx)
	return g, err
}
