package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// CheckInvariants verifies that the module account holds exactly the bonds and
// pending unbondings, that peer ids lead back to their providers and that only
// providers with a bond of the minimum have offers.
func (k Keeper) CheckInvariants(ctx context.Context) error {
	owed, err := k.owed(ctx)
	if err != nil {
		return err
	}
	held := k.bank.GetBalance(ctx, k.accounts.GetModuleAddress(ModuleName), core.BaseDenom).Amount
	if !held.Equal(owed) {
		return fmt.Errorf("market: holds %s, owes %s", held, owed)
	}
	return k.checkReferences(ctx)
}

func (k Keeper) owed(ctx context.Context) (math.Int, error) {
	sum := math.ZeroInt()
	err := k.providers.Walk(ctx, nil, func(_ sdk.AccAddress, p Provider) (bool, error) {
		if p.Bond.IsNegative() {
			return true, fmt.Errorf("market: the bond of %s is negative", p.Address)
		}
		sum = sum.Add(p.Bond)
		return false, nil
	})
	if err != nil {
		return sum, err
	}
	err = k.unbondings.Walk(ctx, nil, func(_ due, u Unbonding) (bool, error) {
		a, err := k.account(u.Provider)
		if err != nil {
			return true, err
		}
		if known, err := k.providers.Has(ctx, a); err != nil || !known {
			return true, fmt.Errorf("market: unbonding %d of a stranger (%v)", u.Id, err)
		}
		sum = sum.Add(u.Amount)
		return false, nil
	})
	return sum, err
}

func (k Keeper) checkReferences(ctx context.Context) error {
	params, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	peers := 0
	err = k.providers.Walk(ctx, nil, func(a sdk.AccAddress, p Provider) (bool, error) {
		peers++
		owner, err := k.peers.Get(ctx, p.PeerId)
		if err != nil || !bytes.Equal(owner, a) {
			return true, fmt.Errorf("market: peer %s does not lead to %s (%v)", p.PeerId, p.Address, err)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	err = k.peers.Walk(ctx, nil, func(string, []byte) (bool, error) { peers--; return false, nil })
	if err != nil || peers != 0 {
		return fmt.Errorf("market: %d peers too few (%v)", peers, err)
	}
	return k.offers.Walk(ctx, nil, func(a sdk.AccAddress, o Offers) (bool, error) {
		p, err := k.providers.Get(ctx, a)
		switch {
		case errors.Is(err, collections.ErrNotFound) || len(o.Offers) == 0 || p.Jailed:
			return true, fmt.Errorf("market: %s may not have offers", k.canonical(a))
		case err == nil && p.Bond.IsZero():
			return true, fmt.Errorf("market: %s has offers and no bond, the minimum is %s", k.canonical(a), params.MinBond)
		}
		return false, err
	})
}
