package payment

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// Credit is what is left of the audit parts of a provider's claims: it pays the
// auditors of that provider's answers, and nobody else.
func (k Keeper) Credit(ctx context.Context, provider sdk.AccAddress) (math.Int, error) {
	a, err := k.credits.Get(ctx, provider)
	if errors.Is(err, collections.ErrNotFound) {
		return math.ZeroInt(), nil
	}
	return a, err
}

// PayAudit pays an auditor out of a provider's credit, as far as it reaches, and
// returns what was paid.
func (k Keeper) PayAudit(ctx context.Context, provider, to sdk.AccAddress, amount math.Int) (math.Int, error) {
	credit, err := k.Credit(ctx, provider)
	if err != nil {
		return math.ZeroInt(), err
	}
	paid := math.MinInt(amount, credit)
	if !paid.IsPositive() || k.bank.BlockedAddr(to) {
		return math.ZeroInt(), nil
	}
	if err := k.setCredit(ctx, provider, credit.Sub(paid)); err != nil {
		return math.ZeroInt(), err
	}
	return paid, k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, to, coins(paid))
}

func (k Keeper) addCredit(ctx context.Context, provider sdk.AccAddress, amount math.Int) error {
	if !amount.IsPositive() {
		return nil
	}
	credit, err := k.Credit(ctx, provider)
	if err != nil {
		return err
	}
	return k.setCredit(ctx, provider, credit.Add(amount))
}

func (k Keeper) setCredit(ctx context.Context, provider sdk.AccAddress, amount math.Int) error {
	if amount.IsZero() {
		return k.credits.Remove(ctx, provider)
	}
	return k.credits.Set(ctx, provider, amount)
}

// allCredits lists them in order of account.
func (k Keeper) allCredits(ctx context.Context) (list []Credit, err error) {
	err = k.credits.Walk(ctx, nil, func(a sdk.AccAddress, amount math.Int) (bool, error) {
		list = append(list, Credit{Provider: k.canonical(a), Amount: amount})
		return false, nil
	})
	return list, err
}

func (k Keeper) initCredits(ctx context.Context, list []Credit) error {
	for _, c := range list {
		a, err := k.account(c.Provider)
		if err != nil {
			return err
		}
		if !positive(c.Amount) {
			return ErrInvalid.Wrapf("the credit of %s is %s", c.Provider, c.Amount)
		}
		if known, err := k.credits.Has(ctx, a); err != nil || known {
			return ErrInvalid.Wrapf("the credit of %s occurs twice (%v)", c.Provider, err)
		}
		if err := k.credits.Set(ctx, a, c.Amount); err != nil {
			return err
		}
	}
	return nil
}
