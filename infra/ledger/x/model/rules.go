package model

import (
	"errors"
	"fmt"
	"strings"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// Limits on what a model may say about itself, in bytes.
const (
	MaxName    = 96
	MaxFormat  = 16
	MaxLicence = 64
	// Points is what a non-empty list of shares sums to.
	Points = 10_000
)

// DefaultParams burn one koin per name and allow 64 shares and 16 ancestors.
func DefaultParams() Params {
	return Params{PublishFee: math.NewIntFromBigInt(core.Koin(1).Big()), MaxShares: 64, MaxDepth: 16}
}

// Validate checks the bounds within which governance may move.
func (p Params) Validate() error {
	if p.PublishFee.IsNil() || p.PublishFee.IsNegative() || p.PublishFee.BigIntMut().BitLen() > 128 {
		return errors.New("publish_fee must lie in [0, 2^128)")
	}
	if p.MaxShares == 0 || p.MaxShares > 1000 {
		return errors.New("max_shares must lie in [1, 1000]")
	}
	if p.MaxDepth > 64 {
		return errors.New("max_depth must be at most 64")
	}
	return nil
}

// fold makes names that differ in letter case equal.
func fold(name string) string { return strings.ToLower(name) }

func checkName(s string) error {
	if s == "" || len(s) > MaxName {
		return fmt.Errorf("a name has 1 to %d characters", MaxName)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("-_.:/+", rune(c))) {
			return fmt.Errorf("a name starts with a letter or digit and has only letters, digits and - _ . : / +")
		}
	}
	return nil
}

func checkText(field, s string, limit int, required bool) error {
	if required && s == "" {
		return fmt.Errorf("%s is missing", field)
	}
	if len(s) > limit {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", field, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("%s must be printable ASCII", field)
		}
	}
	return nil
}

func (k Keeper) checkShares(field string, shares []Share, limit uint32) error {
	if len(shares) > int(limit) {
		return fmt.Errorf("%s has %d entries, at most %d are allowed", field, len(shares), limit)
	}
	var sum uint64
	seen := make(map[string]bool, len(shares))
	for i, s := range shares {
		a, err := k.account(s.Account)
		if err != nil {
			return fmt.Errorf("%s %d: %w", field, i, err)
		}
		if s.Points == 0 {
			return fmt.Errorf("%s %d has no points", field, i)
		}
		if seen[string(a)] {
			return fmt.Errorf("%s %d: %s is named twice", field, i, s.Account)
		}
		seen[string(a)] = true
		sum += uint64(s.Points)
	}
	if len(shares) > 0 && sum != Points {
		return fmt.Errorf("%s sum to %d, want %d", field, sum, Points)
	}
	return nil
}

// check is every rule about a model that needs no other model.
func (k Keeper) check(p Params, m Model) error {
	if len(m.Id) != 32 || len(m.Tokenizer) != 32 {
		return errors.New("id and tokenizer have 32 bytes each")
	}
	if core.Hash(m.Id).IsZero() {
		return errors.New("id is zero")
	}
	if len(m.Parent) != 0 && len(m.Parent) != 32 {
		return errors.New("parent has 32 bytes or none")
	}
	if m.Semantics == 0 || m.Context == 0 || m.Size_ == 0 {
		return errors.New("semantics, context and size must not be zero")
	}
	return errors.Join(
		checkName(m.Name),
		checkText("format", m.Format, MaxFormat, true),
		checkText("licence", m.Licence, MaxLicence, false),
		k.checkShares("shares", m.Shares, p.MaxShares),
		k.checkShares("data", m.Data, p.MaxShares),
	)
}

func coins(amount math.Int) sdk.Coins { return sdk.NewCoins(sdk.NewCoin(core.BaseDenom, amount)) }
