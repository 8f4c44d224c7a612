package verify

import (
	"bytes"
	"context"
	"fmt"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// CheckInvariants verifies that every provider's sequence has no gap.
func (k Keeper) CheckInvariants(ctx context.Context) error {
	var of sdk.AccAddress
	var sequence uint64
	return k.batches.Walk(ctx, nil, func(at batchKey, b Batch) (bool, error) {
		if !bytes.Equal(of, at.K1()) {
			of, sequence = at.K1(), 0
		}
		sequence++
		last, err := k.Last(ctx, of)
		if err == nil && (b.Sequence != sequence || last < sequence) {
			err = fmt.Errorf("verify: batch %d of %s stands at place %d of %d", b.Sequence, b.Provider, sequence, last)
		}
		return err != nil, err
	})
}
