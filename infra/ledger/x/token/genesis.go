package token

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// DefaultGenesis has no allowances and no used nonces.
func DefaultGenesis() *GenesisState { return &GenesisState{} }

// Validate checks what needs no address codec; [Keeper.InitGenesis] checks the rest.
func (g GenesisState) Validate() error {
	for _, a := range g.Authorizations {
		if len(a.Nonce) != 32 {
			return fmt.Errorf("a nonce of %s has %d bytes, want 32", a.Owner, len(a.Nonce))
		}
	}
	for _, a := range g.Allowances {
		if a.Amount.IsNil() || !a.Amount.IsPositive() {
			return fmt.Errorf("the allowance of %s for %s is not positive", a.Owner, a.Spender)
		}
	}
	return nil
}

// InitGenesis loads g.
func (k Keeper) InitGenesis(ctx context.Context, g *GenesisState) error {
	if err := g.Validate(); err != nil {
		return err
	}
	for _, a := range g.Authorizations {
		owner, err := k.account(a.Owner)
		if err != nil {
			return err
		}
		if err := k.used.Set(ctx, collections.Join(sdk.AccAddress(owner[:]), a.Nonce)); err != nil {
			return err
		}
	}
	for _, a := range g.Allowances {
		owner, err := k.account(a.Owner)
		if err != nil {
			return err
		}
		spender, err := k.account(a.Spender)
		if err != nil {
			return err
		}
		if err := k.Approve(ctx, owner, spender, a.Amount); err != nil {
			return err
		}
	}
	return nil
}

// ExportGenesis returns the whole state, in order of owner.
func (k Keeper) ExportGenesis(ctx context.Context) (*GenesisState, error) {
	g := &GenesisState{}
	text := func(a sdk.AccAddress) string { s, _ := k.addresses.BytesToString(a); return s }
	err := k.used.Walk(ctx, nil, func(key byNonce) (bool, error) {
		g.Authorizations = append(g.Authorizations, UsedAuthorization{Owner: text(key.K1()), Nonce: key.K2()})
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	err = k.allowances.Walk(ctx, nil, func(key bySpender, v math.Int) (bool, error) {
		g.Allowances = append(g.Allowances, Allowance{Owner: text(key.K1()), Spender: text(key.K2()), Amount: v})
		return false, nil
	})
	return g, err
}
