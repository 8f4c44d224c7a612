package app

import (
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
)

// CheckInvariants compares what the modules owe with what their accounts hold:
// balances with the supply, stake with its pools, rewards with theirs,
// deposits with governance. It reads everything: not for every block.
func (a *App) CheckInvariants(ctx sdk.Context) error {
	return errors.Join(
		a.supplyAdds(ctx), a.stakeAdds(ctx), a.rewardsCovered(ctx), a.depositsCovered(ctx),
		a.Beacon.CheckInvariants(ctx), a.Model.CheckInvariants(ctx), a.Market.CheckInvariants(ctx), a.Payment.CheckInvariants(ctx), a.Verify.CheckInvariants(ctx),
	)
}

func (a *App) supplyAdds(ctx sdk.Context) (err error) {
	total := sdk.NewCoins()
	a.Bank.IterateAllBalances(ctx, func(owner sdk.AccAddress, c sdk.Coin) bool {
		if c.IsNegative() {
			err = fmt.Errorf("bank: %s holds %s", owner, c)
			return true
		}
		total = total.Add(c)
		return false
	})
	if err != nil {
		return err
	}
	supply := sdk.NewCoins()
	a.Bank.IterateTotalSupply(ctx, func(c sdk.Coin) bool { supply = supply.Add(c); return false })
	if !total.Equal(supply) {
		return fmt.Errorf("bank: balances add to %s, the supply is %s", total, supply)
	}
	return nil
}

func (a *App) stakeAdds(ctx sdk.Context) error {
	bonded, idle := sdkmath.ZeroInt(), sdkmath.ZeroInt()
	validators, err := a.Staking.GetAllValidators(ctx)
	if err != nil {
		return err
	}
	shares := make(map[string]sdkmath.LegacyDec, len(validators))
	for _, v := range validators {
		if v.IsBonded() {
			bonded = bonded.Add(v.Tokens)
		} else {
			idle = idle.Add(v.Tokens)
		}
		shares[v.OperatorAddress] = v.DelegatorShares
	}
	delegations, err := a.Staking.GetAllDelegations(ctx)
	if err != nil {
		return err
	}
	for _, d := range delegations {
		shares[d.ValidatorAddress] = shares[d.ValidatorAddress].Sub(d.Shares)
	}
	for _, v := range validators {
		if left := shares[v.OperatorAddress]; !left.IsZero() {
			return fmt.Errorf("staking: %s has %s shares that nobody holds", v.OperatorAddress, left)
		}
	}
	err = a.Staking.IterateUnbondingDelegations(ctx, func(_ int64, u stakingtypes.UnbondingDelegation) bool {
		for _, e := range u.Entries {
			idle = idle.Add(e.Balance)
		}
		return false
	})
	if err != nil {
		return err
	}
	return errors.Join(
		a.holds(ctx, stakingtypes.BondedPoolName, bonded),
		a.holds(ctx, stakingtypes.NotBondedPoolName, idle),
	)
}

func (a *App) holds(ctx sdk.Context, module string, want sdkmath.Int) error {
	if got := a.Bank.GetBalance(ctx, authtypes.NewModuleAddress(module), sdk.DefaultBondDenom); !got.Amount.Equal(want) {
		return fmt.Errorf("%s: holds %s, owes %s", module, got.Amount, want)
	}
	return nil
}

func (a *App) rewardsCovered(ctx sdk.Context) error {
	pool, err := a.Distr.FeePool.Get(ctx)
	if err != nil {
		return err
	}
	owed := pool.CommunityPool
	a.Distr.IterateValidatorOutstandingRewards(ctx, func(_ sdk.ValAddress, r distrtypes.ValidatorOutstandingRewards) bool {
		owed = owed.Add(r.Rewards...)
		return false
	})
	whole, _ := owed.TruncateDecimal()
	held := a.Bank.GetAllBalances(ctx, authtypes.NewModuleAddress(distrtypes.ModuleName))
	if !held.Equal(whole) {
		return fmt.Errorf("distribution: holds %s, owes %s", held, whole)
	}
	return nil
}

func (a *App) depositsCovered(ctx sdk.Context) error {
	owed := sdk.NewCoins()
	err := a.Gov.Deposits.Walk(ctx, nil, func(_ collections.Pair[uint64, sdk.AccAddress], d govv1.Deposit) (bool, error) {
		owed = owed.Add(d.Amount...)
		return false, nil
	})
	if err != nil {
		return err
	}
	held := a.Bank.GetAllBalances(ctx, authtypes.NewModuleAddress(govtypes.ModuleName))
	if !held.IsAllGTE(owed) {
		return fmt.Errorf("gov: holds %s, owes %s of deposits", held, owed)
	}
	return nil
}
