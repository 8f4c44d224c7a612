package payment

import (
	"errors"
	"fmt"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Points is the whole of every share.
const Points = 10_000

// maxDepositBits is the width of a voucher's amount.
const maxDepositBits = 128

// DefaultParams give the provider 50 %, model lineage 20 %, data 20 %, audits
// 5 % and the protocol 5 %, of which half is burned.
func DefaultParams() Params {
	return Params{
		ProviderPoints: 5000, LineagePoints: 2000, DataPoints: 2000, ProtocolPoints: 500, AuditPoints: 500,
		BurnPoints: 5000, ParentPoints: 3000,
		MinWithdrawDelay: voucher.MinWithdrawDelay, MaxWithdrawDelay: voucher.MaxWithdrawDelay,
		MinLifetime: 60, MaxLifetime: 365 * 24 * 3600,
		MinDeposit: math.NewInt(1_000_000), MaxClaims: 256, MaxAttributions: 16, MaxClosings: 100, GasPerVoucher: 5_000,
	}
}

// Validate checks the bounds within which governance may move.
func (p Params) Validate() error {
	parts := []uint32{p.ProviderPoints, p.LineagePoints, p.DataPoints, p.ProtocolPoints, p.AuditPoints}
	sum := uint64(0)
	for _, v := range parts {
		sum += uint64(v)
	}
	if sum != Points {
		return fmt.Errorf("the parts sum to %d points, want %d", sum, Points)
	}
	if p.BurnPoints > Points || p.ParentPoints > Points {
		return fmt.Errorf("burn_points and parent_points must be at most %d", Points)
	}
	if p.MinWithdrawDelay > p.MaxWithdrawDelay || p.MaxWithdrawDelay > voucher.MaxWithdrawDelay {
		return fmt.Errorf("the withdraw delays must be in order and at most %d", voucher.MaxWithdrawDelay)
	}
	if p.MinLifetime == 0 || p.MinLifetime > p.MaxLifetime || p.MaxLifetime > 10*365*24*3600 {
		return errors.New("the lifetimes must be in order, positive and at most ten years")
	}
	if !positive(p.MinDeposit) {
		return errors.New("min_deposit must lie in [1, 2^128)")
	}
	for _, v := range []struct {
		name         string
		value, limit uint32
	}{{"max_claims", p.MaxClaims, 10_000}, {"max_attributions", p.MaxAttributions, 1000}, {"max_closings", p.MaxClosings, 10_000}} {
		if v.value == 0 || v.value > v.limit {
			return fmt.Errorf("%s must lie in [1, %d]", v.name, v.limit)
		}
	}
	if p.GasPerVoucher == 0 || p.GasPerVoucher > 1_000_000 {
		return errors.New("gas_per_voucher must lie in [1, 1,000,000]")
	}
	return nil
}

func positive(i math.Int) bool {
	return !i.IsNil() && i.IsPositive() && i.BigIntMut().BitLen() <= maxDepositBits
}

func coins(amount math.Int) sdk.Coins { return sdk.NewCoins(sdk.NewCoin(core.BaseDenom, amount)) }

// part is floor(amount * points / 10,000).
func part(amount math.Int, points uint32) math.Int {
	return amount.MulRaw(int64(points)).QuoRaw(Points)
}

// remaining is what the channel still holds.
func (c Channel) remaining() math.Int {
	if c.State == StateClosed {
		return math.ZeroInt()
	}
	return c.Deposit.Sub(c.Claimed)
}

// closing is the time from which the channel counts as closed: the end of its
// challenge window or its expiry, whichever is first. Unix seconds.
func (c Channel) closing() int64 {
	if c.State == StateWithdrawing {
		return min(c.Expiry, c.Withdrawable)
	}
	return c.Expiry
}
