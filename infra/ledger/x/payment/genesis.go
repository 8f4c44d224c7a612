package payment

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/math"
)

// DefaultGenesis has no channels.
func DefaultGenesis() *GenesisState {
	zero := math.ZeroInt()
	return &GenesisState{Params: DefaultParams(), Totals: Totals{Claimed: zero, Burned: zero, Treasury: zero}}
}

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error {
	for _, v := range []math.Int{g.Totals.Claimed, g.Totals.Burned, g.Totals.Treasury} {
		if v.IsNil() || v.IsNegative() {
			return errors.New("totals must not be negative")
		}
	}
	return g.Params.Validate()
}

// InitGenesis loads g, which must fit the balance of the module account.
func (k Keeper) InitGenesis(ctx context.Context, g *GenesisState) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	if err := k.totals.Set(ctx, g.Totals); err != nil {
		return err
	}
	for _, c := range g.Channels {
		if err := k.initChannel(ctx, c); err != nil {
			return fmt.Errorf("channel %x: %w", c.Id, err)
		}
	}
	if err := k.initCredits(ctx, g.Credits); err != nil {
		return err
	}
	return k.CheckInvariants(ctx)
}

func (k Keeper) initChannel(ctx context.Context, c Channel) error {
	same, payer, provider, err := k.newChannel(&MsgOpen{
		Payer: c.Payer, Signer: c.Signer, Provider: c.Provider, Deposit: c.Deposit, Salt: c.Salt, WithdrawDelay: c.WithdrawDelay,
	})
	if err != nil {
		return err
	}
	if string(same.Id) != string(c.Id) {
		return fmt.Errorf("the id should be %x", same.Id)
	}
	if used, err := k.channels.Has(ctx, c.Id); err != nil || used {
		return fmt.Errorf("listed twice (%v)", err)
	}
	if err := c.validate(); err != nil {
		return err
	}
	return k.index(ctx, c, payer, provider)
}

func (c Channel) validate() error {
	switch {
	case c.State != StateOpen && c.State != StateWithdrawing && c.State != StateClosed:
		return fmt.Errorf("state %d is unknown", c.State)
	case !positive(c.Deposit) || c.Claimed.IsNil() || c.Claimed.IsNegative() || c.Claimed.GT(c.Deposit):
		return fmt.Errorf("claimed %s of a deposit of %s", c.Claimed, c.Deposit)
	}
	return nil
}

// ExportGenesis returns the whole state, in order of id.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	t, err := k.totals.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &GenesisState{Params: p, Totals: t}
	err = k.channels.Walk(ctx, nil, func(_ []byte, c Channel) (bool, error) {
		g.Channels = append(g.Channels, c)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	g.Credits, err = k.allCredits(ctx)
	return g, err
}
