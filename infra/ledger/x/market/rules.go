package market

import (
	"errors"
	"fmt"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// Limits on what a provider may say about itself, in bytes.
const (
	MaxMoniker  = 64
	MaxHardware = 256
	MaxAddr     = 256
	MaxSlots    = 1 << 20
	// maxPriceBits keeps price times tokens far from any overflow.
	maxPriceBits = 96
	// peerGas is charged for checking a peer's signature.
	peerGas = 1_000
)

// DefaultParams ask for a bond of 100 koin, returned after three days.
func DefaultParams() Params {
	return Params{
		MinBond: math.NewIntFromBigInt(core.Koin(100).Big()), UnbondDelay: 3 * 24 * 3600,
		MaxOffers: 64, MaxAddrs: 16, MaxUnbondings: 8, MaxPayouts: 100,
		Kappa: 10, Finality: 24 * 3600, JailTime: 7 * 24 * 3600,
	}
}

// Validate checks the bounds within which governance may move.
func (p Params) Validate() error {
	if p.MinBond.IsNil() || !p.MinBond.IsPositive() || p.MinBond.BigIntMut().BitLen() > 128 {
		return errors.New("min_bond must lie in [1, 2^128)")
	}
	if p.UnbondDelay > 365*24*3600 {
		return errors.New("unbond_delay must be at most a year")
	}
	if p.UnbondDelay <= p.Finality {
		return errors.New("unbond_delay must be longer than finality: a receipt could be disputed after the stake has left")
	}
	if p.Kappa == 0 || p.Kappa > 10_000 || p.JailTime > 10*365*24*3600 {
		return errors.New("kappa must lie in [1, 10,000] and jail_time be at most ten years")
	}
	for _, v := range []struct {
		name  string
		value uint32
		limit uint32
	}{{"max_offers", p.MaxOffers, 1000}, {"max_addrs", p.MaxAddrs, 64}, {"max_unbondings", p.MaxUnbondings, 100}, {"max_payouts", p.MaxPayouts, 1000}} {
		if v.value == 0 || v.value > v.limit {
			return fmt.Errorf("%s must lie in [1, %d]", v.name, v.limit)
		}
	}
	return nil
}

func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", field, len(s), limit)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return fmt.Errorf("%s must be text without control characters", field)
		}
	}
	return nil
}

func checkProfile(p Params, moniker, hardware string, addrs []string) error {
	if len(addrs) > int(p.MaxAddrs) {
		return fmt.Errorf("%d addresses, at most %d are allowed", len(addrs), p.MaxAddrs)
	}
	for i, a := range addrs {
		if a == "" || a[0] != '/' {
			return fmt.Errorf("address %d must be a multiaddress (/ip4/... or /dns/...)", i)
		}
		if err := checkText("an address", a, MaxAddr); err != nil {
			return err
		}
	}
	return errors.Join(checkText("moniker", moniker, MaxMoniker), checkText("hardware", hardware, MaxHardware))
}

func checkOffer(o Offer) error {
	if len(o.Model) != 32 {
		return errors.New("a model id has 32 bytes")
	}
	switch core.Tier(o.Tier) {
	case core.TierExact, core.TierStatistical, core.TierNone:
	default:
		return errors.New("tier must be exact, statistical or none")
	}
	for _, price := range []math.Int{o.PriceIn, o.PriceOut} {
		if price.IsNil() || price.IsNegative() || price.BigIntMut().BitLen() > maxPriceBits {
			return fmt.Errorf("a price must lie in [0, 2^%d)", maxPriceBits)
		}
	}
	if o.Slots == 0 || o.Slots > MaxSlots {
		return fmt.Errorf("slots must lie in [1, %d]", MaxSlots)
	}
	return nil
}

func positive(i math.Int) bool {
	return !i.IsNil() && i.IsPositive() && i.BigIntMut().BitLen() <= 128
}

func coins(amount math.Int) sdk.Coins { return sdk.NewCoins(sdk.NewCoin(core.BaseDenom, amount)) }
