package verify

import (
	"bytes"
	"context"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// CheckInvariants verifies that every provider's sequence has no gap, that the
// module holds the bonds of the open disputes and what audits need, that exactly
// those that are open are due, and that every ended dispute and every mark will
// be removed.
func (k Keeper) CheckInvariants(ctx context.Context) error {
	if err := k.checkDisputes(ctx); err != nil {
		return err
	}
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

func (k Keeper) checkDisputes(ctx context.Context) error {
	owed, open, ended := math.ZeroInt(), 0, 0
	err := k.disputes.Walk(ctx, nil, func(id uint64, d Dispute) (bool, error) {
		if d.Winner != "" {
			ended++
			return false, nil
		}
		owed, open = owed.Add(d.Bond), open+1
		provider, err := k.account(d.Provider)
		if err != nil {
			return true, err
		}
		listed, err := k.open.Has(ctx, collections.Join(provider, id))
		if err != nil || !listed {
			return true, fmt.Errorf("verify: dispute %d is not listed (%v)", id, err)
		}
		if due, err := k.due.Has(ctx, collections.Join(d.Deadline, id)); err != nil || !due {
			return true, fmt.Errorf("verify: dispute %d has no deadline (%v)", id, err)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	listed, due, old := size(ctx, k.open), size(ctx, k.due), size(ctx, k.ended)
	audits, err := k.checkAudits(ctx)
	if err != nil {
		return err
	}
	owed = owed.Add(audits)
	held := k.bank.GetBalance(ctx, k.self(), core.BaseDenom).Amount
	if listed != open || due != open || old != ended || size(ctx, k.accused) != open || size(ctx, k.raised) != open || !held.Equal(owed) {
		return fmt.Errorf("verify: %d open disputes, %d listed, %d due; %d ended, %d to be removed; holds %s, owes %s", open, listed, due, ended, old, held, owed)
	}
	return k.convicted.Walk(ctx, nil, func(receipt []byte, until int64) (bool, error) {
		found, err := k.expiring.Has(ctx, collections.Join(until, receipt))
		if err == nil && !found {
			err = fmt.Errorf("verify: the mark of receipt %x is never removed", receipt)
		}
		return err != nil, err
	})
}

// size counts a set's keys; -1 where they cannot be read.
func size[K any](ctx context.Context, set collections.KeySet[K]) (n int) {
	if set.Walk(ctx, nil, func(K) (bool, error) { n++; return false, nil }) != nil {
		return -1
	}
	return n
}
