package verify

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/engine/referee"
)

// DefaultGenesis has no batches and no disputes.
func DefaultGenesis() *GenesisState {
	return &GenesisState{Params: DefaultParams(), Next: 1, Audits: AuditState{NextAudit: 1, NextWaiting: 1}}
}

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
	for _, c := range g.Convictions {
		if len(c.Receipt) != 32 {
			return fmt.Errorf("a receipt's id has %d bytes", len(c.Receipt))
		}
		if err := k.setMark(ctx, c.Receipt, c.Until); err != nil {
			return err
		}
	}
	for _, d := range g.Disputes {
		if err := k.initDispute(ctx, d, g.Next); err != nil {
			return fmt.Errorf("dispute %d: %w", d.Id, err)
		}
	}
	return k.initAudits(ctx, g.Audits)
}

// initDispute stores a dispute and what refers to it.
func (k Keeper) initDispute(goCtx context.Context, d Dispute, next uint64) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	if d.Id == 0 || d.Id >= next {
		return fmt.Errorf("the next id is %d", next)
	}
	if known, err := k.disputes.Has(ctx, d.Id); err != nil || known {
		return fmt.Errorf("the id occurs twice (%v)", err)
	}
	if len(d.Receipt) != 32 || len(d.Model) != 32 {
		return errors.New("receipt and model have 32 bytes")
	}
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	if d.Winner != "" {
		if err := k.ended.Set(ctx, collections.Join(d.Ended, d.Id)); err != nil {
			return err
		}
		return k.disputes.Set(ctx, d.Id, d)
	}
	game := new(referee.State)
	if err := referee.Decode(d.State, game); err != nil {
		return err
	}
	if game.Phase.Side() == 0 || game.Phase.String() != d.Phase || game.Phase.Side().String() != d.Turn || d.Deadline == 0 {
		return fmt.Errorf("it is open and waits for nobody (%s of the %q)", d.Phase, d.Turn)
	}
	// A chain that begins again at a lower height counts the turn's blocks anew.
	d.TurnHeight = min(d.TurnHeight, ctx.BlockHeight())
	if err := k.disputes.Set(ctx, d.Id, d); err != nil {
		return err
	}
	if err := k.list(ctx, &d, provider); err != nil {
		return err
	}
	if err := k.due.Set(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
		return err
	}
	if proven, err := k.convicted.Has(ctx, d.Receipt); err != nil {
		return err
	} else if proven {
		if err := k.settling.Set(ctx, d.Receipt); err != nil {
			return err
		}
	}
	return k.market.Freeze(ctx, provider)
}

// ExportGenesis returns the whole state, in order of provider and sequence, of
// ids and of receipts.
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
	err = k.convicted.Walk(ctx, nil, func(receipt []byte, until int64) (bool, error) {
		g.Convictions = append(g.Convictions, Conviction{Receipt: receipt, Until: until})
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if g.Next, err = k.next.Peek(ctx); err != nil {
		return nil, err
	}
	g.Audits, err = k.exportAudits(ctx)
	return g, err
}
