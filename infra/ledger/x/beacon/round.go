package beacon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

// Prover is a VRF key of a validator.
type Prover interface {
	core.VRF
	PublicKey() []byte
}

// Extend returns the vote extension for height of the validator with this
// consensus address: its contribution to that height and to the earlier ones
// that the chain has not got from it yet, each with the key that is registered
// for it. Rounds are those of the state before the block. A validator whose
// registered key is not among these contributes nothing.
func (k Keeper) Extend(ctx sdk.Context, height int64, consensus []byte, keys []Prover) ([]byte, error) {
	m, err := k.members.Get(ctx, consensus)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Contribution
	open := new(collections.Range[int64]).EndInclusive(height).Descending()
	err = k.rounds.Walk(ctx, open, func(h int64, r Round) (bool, error) {
		if height-h >= MaxWindow {
			return true, nil
		}
		registered, ok := m.active(h)
		i := slices.IndexFunc(keys, func(p Prover) bool { return bytes.Equal(registered, p.PublicKey()) })
		if _, done := r.find(consensus); done || !ok || i < 0 {
			return false, nil
		}
		proof, _, err := keys[i].Prove(Message(ctx.ChainID(), h, r.Seed, consensus))
		if err == nil {
			list = append(list, Contribution{Age: uint8(height - h), Proof: proof})
		}
		return false, err
	})
	return EncodeExtension(list), err
}

// Vote is what a validator of the last block's set brings into this one.
type Vote struct {
	Consensus []byte // address
	Power     int64
	Extension []byte // empty for none
}

// Step advances the rounds by the block of ctx: it records the contributions of
// votes for the block before, finishes the rounds whose window is over, opens
// that of the next height and forgets old beacons. False contributions are left
// out. votes hold every validator of the last commit, whether it signed or not.
func (k Keeper) Step(ctx sdk.Context, votes []Vote) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.record(ctx, votes); err != nil {
		return err
	}
	if err := k.finish(ctx, p); err != nil {
		return err
	}
	if err := k.openRound(ctx, ctx.BlockHeight()+1); err != nil {
		return err
	}
	return k.prune(ctx, p)
}

// record reads the votes for the block before.
func (k Keeper) record(ctx sdk.Context, votes []Vote) error {
	voted := ctx.BlockHeight() - 1
	rounds, err := k.openRounds(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, v := range votes {
		total += v.Power
	}
	changed := make([]bool, len(rounds))
	for i := range rounds {
		if rounds[i].Height == voted {
			rounds[i].Total, changed[i] = total, true
		}
	}
	for _, v := range votes {
		list, err := ParseExtension(v.Extension)
		if err != nil || len(list) == 0 {
			continue
		}
		m, err := k.members.Get(ctx, v.Consensus)
		if errors.Is(err, collections.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, c := range list {
			i := slices.IndexFunc(rounds, func(r Round) bool { return r.Height == voted-int64(c.Age) })
			if i >= 0 && rounds[i].add(ctx.ChainID(), m, v.Power, c.Proof) {
				changed[i] = true
			}
		}
	}
	for i, r := range rounds {
		if !changed[i] {
			continue
		}
		if err := k.rounds.Set(ctx, r.Height, r); err != nil {
			return err
		}
	}
	return nil
}

// add records a contribution if it is the validator's first and its proof
// holds, and reports whether it did.
func (r *Round) add(chainID string, m Member, power int64, proof []byte) bool {
	at, done := r.find(m.Consensus)
	public, ok := m.active(r.Height)
	if done || !ok || power <= 0 {
		return false
	}
	output, err := vrf.Verify(public, Message(chainID, r.Height, r.Seed, m.Consensus), proof)
	if err != nil {
		return false
	}
	r.Contributors = slices.Insert(r.Contributors, at, m.Consensus)
	r.Power += power
	if len(r.Winner) == 0 || before(output, power, m.Consensus, r.Output, r.WinnerPower, r.Winner) {
		r.Winner, r.WinnerPower, r.Output = m.Consensus, power, output
	}
	return true
}

// find returns the place of a validator among the contributors.
func (r *Round) find(consensus []byte) (int, bool) {
	return slices.BinarySearchFunc(r.Contributors, consensus, bytes.Compare)
}

func (k Keeper) openRounds(ctx context.Context) (list []Round, err error) {
	err = k.rounds.Walk(ctx, nil, func(_ int64, r Round) (bool, error) {
		list = append(list, r)
		return false, nil
	})
	return list, err
}

// finish turns the rounds whose window is over into beacons, in order of height.
func (k Keeper) finish(ctx sdk.Context, p Params) error {
	rounds, err := k.openRounds(ctx)
	if err != nil {
		return err
	}
	for _, r := range rounds {
		if r.Height+int64(p.Window) > ctx.BlockHeight() {
			break
		}
		b, err := k.outcome(ctx, p, r)
		if err != nil {
			return err
		}
		if err := errors.Join(k.beacons.Set(ctx, b.Height, b), k.rounds.Remove(ctx, r.Height)); err != nil {
			return err
		}
		e := &EventBeacon{Height: b.Height, Contributors: b.Contributors, Power: b.Power, Total: b.Total, Winner: hex.EncodeToString(b.Winner)}
		if !b.Missing {
			e.Value = hex.EncodeToString(b.Value)
		}
		if err := ctx.EventManager().EmitTypedEvent(e); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) outcome(ctx sdk.Context, p Params, r Round) (Beacon, error) {
	b := Beacon{Height: r.Height, Contributors: uint32(len(r.Contributors)), Power: r.Power, Total: r.Total}
	if enough(p, r) {
		b.Value, b.Winner = Value(r.Height, r.Seed, r.Output), r.Winner
		return b, nil
	}
	b.Missing = true
	last, ok, err := k.newest(ctx)
	b.Value = last.Value
	if !ok {
		b.Value = FirstSeed(ctx.ChainID())
	}
	return b, err
}

// enough says whether the contributors' power is at least quorum_points of the
// total.
func enough(p Params, r Round) bool {
	if r.Power <= 0 || r.Total <= 0 {
		return false
	}
	have := new(big.Int).Mul(big.NewInt(r.Power), big.NewInt(Points))
	return have.Cmp(new(big.Int).Mul(big.NewInt(r.Total), big.NewInt(int64(p.QuorumPoints)))) >= 0
}

// openRound opens the round of a height. Its seed is the newest beacon.
func (k Keeper) openRound(ctx sdk.Context, height int64) error {
	last, ok, err := k.newest(ctx)
	if err != nil {
		return err
	}
	seed := last.Value
	if !ok {
		seed = FirstSeed(ctx.ChainID())
	}
	return k.rounds.Set(ctx, height, Round{Height: height, Seed: seed})
}

// pruned bounds the beacons that one block forgets. A block makes one, so that a
// lower keep is reached in time.
const pruned = 8

func (k Keeper) prune(ctx sdk.Context, p Params) error {
	if uint64(ctx.BlockHeight()) <= p.Keep {
		return nil
	}
	old := new(collections.Range[int64]).EndExclusive(ctx.BlockHeight() - int64(p.Keep))
	var heights []int64
	err := k.beacons.Walk(ctx, old, func(h int64, _ Beacon) (bool, error) {
		heights = append(heights, h)
		return len(heights) >= pruned, nil
	})
	for _, h := range heights {
		if err == nil {
			err = k.beacons.Remove(ctx, h)
		}
	}
	return err
}
