package core

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// BaseDenom is the coin's smallest unit; 10^Decimals of it are one Denom.
const (
	Denom     = "koin"
	BaseDenom = "akoin"
	Decimals  = 18
)

// Amount is a non-negative whole number of akoin below 2^256. The zero value
// is zero. Amounts are immutable: every method returns a new one.
type Amount struct{ v *big.Int }

var maxAmount = new(big.Int).Lsh(big.NewInt(1), 256)

// NewAmount returns n akoin.
func NewAmount(n uint64) Amount { return Amount{new(big.Int).SetUint64(n)} }

// AmountFromBig copies v, which must lie in [0, 2^256).
func AmountFromBig(v *big.Int) (Amount, error) {
	if v.Sign() < 0 {
		return Amount{}, errors.New("an amount cannot be negative")
	}
	if v.Cmp(maxAmount) >= 0 {
		return Amount{}, errors.New("an amount must be below 2^256")
	}
	return Amount{new(big.Int).Set(v)}, nil
}

// ParseAmount reads akoin ("1500", "1500akoin") or koin ("0.25koin").
func ParseAmount(s string) (Amount, error) {
	t := strings.TrimSpace(s)
	if base, ok := strings.CutSuffix(t, BaseDenom); ok {
		t = base
	} else if whole, ok := strings.CutSuffix(t, Denom); ok {
		i, frac, _ := strings.Cut(strings.TrimSpace(whole), ".")
		if len(frac) > Decimals {
			return Amount{}, fmt.Errorf("%q has more than %d decimals", abbreviate(s), Decimals)
		}
		if t = i + frac; t != "" {
			t += strings.Repeat("0", Decimals-len(frac))
		}
	}
	t = strings.TrimSpace(t)
	if t == "" || len(t) > 100 || strings.Trim(t, "0123456789") != "" {
		return Amount{}, fmt.Errorf("%q is not an amount; write 1500akoin or 0.25koin", abbreviate(s))
	}
	v, _ := new(big.Int).SetString(t, 10)
	return AmountFromBig(v)
}

// Koin returns n whole koin.
func Koin(n uint64) Amount {
	return NewAmount(n).Mul(1_000_000_000).Mul(1_000_000_000)
}

func (a Amount) big() *big.Int {
	if a.v == nil {
		return new(big.Int)
	}
	return a.v
}

// Big returns a copy as a big integer.
func (a Amount) Big() *big.Int { return new(big.Int).Set(a.big()) }

// IsZero reports whether a is 0.
func (a Amount) IsZero() bool { return a.big().Sign() == 0 }

// Cmp is -1, 0 or +1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int { return a.big().Cmp(b.big()) }

// Add returns a+b. It panics past 2^256, which no supply can reach.
func (a Amount) Add(b Amount) Amount {
	r, err := AmountFromBig(new(big.Int).Add(a.big(), b.big()))
	if err != nil {
		panic(err)
	}
	return r
}

// Sub returns a-b, or false when b is the larger.
func (a Amount) Sub(b Amount) (Amount, bool) {
	if a.Cmp(b) < 0 {
		return Amount{}, false
	}
	return Amount{new(big.Int).Sub(a.big(), b.big())}, true
}

// Less returns a-b, or zero when b is the larger.
func (a Amount) Less(b Amount) Amount { r, _ := a.Sub(b); return r }

// Mul returns a*n. It panics past 2^256, which no supply can reach.
func (a Amount) Mul(n uint64) Amount {
	r, err := AmountFromBig(new(big.Int).Mul(a.big(), new(big.Int).SetUint64(n)))
	if err != nil {
		panic(err)
	}
	return r
}

// Div returns a/n rounded down; n must not be 0.
func (a Amount) Div(n uint64) Amount {
	return Amount{new(big.Int).Quo(a.big(), new(big.Int).SetUint64(n))}
}

// String returns decimal akoin without a unit.
func (a Amount) String() string { return a.big().String() }

// Format returns the amount in koin for people, with its unit: "0.25 koin".
func (a Amount) Format() string {
	s := a.String()
	if len(s) <= Decimals {
		s = strings.Repeat("0", Decimals-len(s)+1) + s
	}
	i, f := s[:len(s)-Decimals], strings.TrimRight(s[len(s)-Decimals:], "0")
	if f != "" {
		i += "." + f
	}
	return i + " " + Denom
}

// Bytes32 returns the big-endian 32-byte encoding used by EIP-712.
func (a Amount) Bytes32() (b [32]byte) { a.big().FillBytes(b[:]); return b }

// MarshalText writes decimal akoin.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what [ParseAmount] reads.
func (a *Amount) UnmarshalText(b []byte) (err error) { *a, err = ParseAmount(string(b)); return err }
