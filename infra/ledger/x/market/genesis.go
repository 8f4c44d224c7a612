package market

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// DefaultGenesis has no providers.
func DefaultGenesis() *GenesisState { return &GenesisState{Params: DefaultParams()} }

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error { return g.Params.Validate() }

// InitGenesis loads g, which must fit the balance of the module account.
func (k Keeper) InitGenesis(ctx context.Context, g *GenesisState) error {
	if err := k.params.Set(ctx, g.Params); err != nil {
		return err
	}
	for _, p := range g.Providers {
		if err := k.initProvider(ctx, g.Params, p); err != nil {
			return fmt.Errorf("provider %s: %w", p.Address, err)
		}
	}
	for _, o := range g.Offers {
		a, err := k.account(o.Provider)
		if err != nil {
			return err
		}
		if err := k.checkOffers(ctx, g.Params, o.Offers); err != nil {
			return fmt.Errorf("provider %s: %w", o.Provider, err)
		}
		if err := k.offers.Set(ctx, a, Offers{Offers: o.Offers}); err != nil {
			return err
		}
	}
	for _, r := range g.Records {
		a, err := k.account(r.Provider)
		if err != nil {
			return err
		}
		if r.Record.Claimed.IsNil() || r.Record.Claimed.IsNegative() {
			return fmt.Errorf("record of %s: claimed is negative", r.Provider)
		}
		if r.Record.Slashed.IsNil() {
			r.Record.Slashed = math.ZeroInt()
		}
		if err := k.records.Set(ctx, a, r.Record); err != nil {
			return err
		}
	}
	for _, u := range g.Unbondings {
		a, err := k.account(u.Provider)
		if err != nil {
			return err
		}
		if !positive(u.Amount) || u.Id >= g.NextUnbonding {
			return fmt.Errorf("unbonding %d of %s is invalid", u.Id, u.Provider)
		}
		if err := k.enqueue(ctx, a, u); err != nil {
			return err
		}
	}
	if err := k.next.Set(ctx, g.NextUnbonding); err != nil {
		return err
	}
	for _, e := range g.Earnings {
		a, err := k.account(e.Provider)
		if err != nil {
			return err
		}
		if !positive(e.Amount) {
			return fmt.Errorf("earnings of %s are not positive", e.Provider)
		}
		if err := k.earnings.Set(ctx, collections.Join(a, e.Until), e.Amount); err != nil {
			return err
		}
	}
	return k.CheckInvariants(ctx)
}

func (k Keeper) initProvider(ctx context.Context, params Params, p Provider) error {
	a, err := k.account(p.Address)
	if err != nil {
		return err
	}
	if p.Bond.IsNil() || p.Bond.IsNegative() {
		return fmt.Errorf("the bond is negative")
	}
	if err := checkProfile(params, p.Moniker, p.Hardware, p.Addrs); err != nil {
		return err
	}
	if _, err := PeerKey(p.PeerId); err != nil {
		return err
	}
	if taken, err := k.peers.Has(ctx, p.PeerId); err != nil || taken {
		return fmt.Errorf("peer id %s is bound twice (%v)", p.PeerId, err)
	}
	if err := k.peers.Set(ctx, p.PeerId, a); err != nil {
		return err
	}
	return k.providers.Set(ctx, a, p)
}

// ExportGenesis returns the whole state, in order of keys.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	g := &GenesisState{Params: p}
	err = k.providers.Walk(ctx, nil, func(_ sdk.AccAddress, p Provider) (bool, error) {
		g.Providers = append(g.Providers, p)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	err = k.offers.Walk(ctx, nil, func(a sdk.AccAddress, o Offers) (bool, error) {
		s, err := k.addresses.BytesToString(a)
		g.Offers = append(g.Offers, OffersEntry{Provider: s, Offers: o.Offers})
		return false, err
	})
	if err != nil {
		return nil, err
	}
	err = k.records.Walk(ctx, nil, func(a sdk.AccAddress, r Record) (bool, error) {
		s, err := k.addresses.BytesToString(a)
		g.Records = append(g.Records, RecordEntry{Provider: s, Record: r})
		return false, err
	})
	if err != nil {
		return nil, err
	}
	err = k.unbondings.Walk(ctx, nil, func(_ collections.Pair[int64, uint64], u Unbonding) (bool, error) {
		g.Unbondings = append(g.Unbondings, u)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	err = k.earnings.Walk(ctx, nil, func(at earningKey, amount math.Int) (bool, error) {
		g.Earnings = append(g.Earnings, Earning{Provider: k.canonical(at.K1()), Until: at.K2(), Amount: amount})
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	g.NextUnbonding, err = k.next.Peek(ctx)
	return g, err
}
