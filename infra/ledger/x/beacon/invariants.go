package beacon

import (
	"bytes"
	"context"
	"fmt"
)

// CheckInvariants verifies that keys lead to their validators, and that rounds
// and beacons are in order, each with its winner among those who contributed.
func (k Keeper) CheckInvariants(ctx context.Context) error {
	keys := 0
	err := k.members.Walk(ctx, nil, func(a []byte, m Member) (bool, error) {
		for _, key := range m.Keys {
			keys++
			if owner, err := k.owners.Get(ctx, key.Public); err != nil || !bytes.Equal(owner, a) {
				return true, fmt.Errorf("beacon: key %x does not lead to %x (%v)", key.Public, a, err)
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	err = k.owners.Walk(ctx, nil, func([]byte, []byte) (bool, error) { keys--; return false, nil })
	if err != nil || keys != 0 {
		return fmt.Errorf("beacon: %d keys too few (%v)", keys, err)
	}
	return k.checkRounds(ctx)
}

func (k Keeper) checkRounds(ctx context.Context) error {
	newest, made, err := k.newest(ctx)
	if err != nil {
		return err
	}
	err = k.rounds.Walk(ctx, nil, func(h int64, r Round) (bool, error) {
		_, known := r.find(r.Winner)
		switch {
		case r.Height != h || made && h <= newest.Height:
			return true, fmt.Errorf("beacon: round %d is open after beacon %d", h, newest.Height)
		case len(r.Seed) != 32 || r.Power < 0 || r.Total < 0:
			return true, fmt.Errorf("beacon: round %d has a seed of %d bytes and power %d of %d", h, len(r.Seed), r.Power, r.Total)
		case known != (len(r.Contributors) > 0):
			return true, fmt.Errorf("beacon: the winner of round %d did not contribute", h)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	return k.beacons.Walk(ctx, nil, func(h int64, b Beacon) (bool, error) {
		if b.Height != h || len(b.Value) != 32 || b.Missing != (len(b.Winner) == 0) {
			return true, fmt.Errorf("beacon: height %d holds a value of %d bytes of height %d, missing %v, won by %x", h, len(b.Value), b.Height, b.Missing, b.Winner)
		}
		return false, nil
	})
}
