package beacon

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"math/bits"

	"github.com/koinon-network/koinon/infra/vrf"
)

// Bounds of parameters that governance cannot leave.
const (
	MaxWindow   = 16
	MaxQuorum   = 6_667
	MinKeep     = 64
	MaxKeep     = 1_000_000
	MaxKeyDelay = 1_000_000
)

// Points of 10,000 are the whole.
const Points = 10_000

// DefaultParams are those of a public network.
func DefaultParams() Params {
	return Params{Window: 3, QuorumPoints: 3_334, Keep: 10_000, KeyDelay: 100}
}

// Validate checks every bound.
func (p Params) Validate() error {
	switch {
	case p.Window < 1 || p.Window > MaxWindow:
		return errors.New("window must be 1 to 16 blocks")
	case p.QuorumPoints < 1 || p.QuorumPoints > MaxQuorum:
		return errors.New("quorum_points must be 1 to 6,667")
	case p.Keep < MinKeep || p.Keep > MaxKeep:
		return errors.New("keep must be 64 to 1,000,000 beacons")
	case p.KeyDelay < 2*uint64(p.Window)+2 || p.KeyDelay > MaxKeyDelay:
		return errors.New("key_delay must be from 2 window + 2 to 1,000,000 blocks")
	}
	return nil
}

// encoder writes the fields under a hash or a VRF (spec/receipt.md, Notation).
type encoder []byte

func newEncoder(tag string) encoder { return encoder(nil).text(tag) }

func (e encoder) text(s string) encoder {
	return append(binary.BigEndian.AppendUint32(e, uint32(len(s))), s...)
}

func (e encoder) height(h int64) encoder { return binary.BigEndian.AppendUint64(e, uint64(h)) }

func (e encoder) raw(b []byte) encoder { return append(e, b...) }

func (e encoder) sum() []byte { h := sha256.Sum256(e); return h[:] }

// Message is what a validator's VRF contributes to a height: seed is the
// round's, consensus the address of the validator's consensus key.
func Message(chainID string, height int64, seed, consensus []byte) []byte {
	return newEncoder("koinon/beacon/1").text(chainID).height(height).raw(seed).raw(consensus)
}

// PossessionMessage is under the proof of [MsgRegisterKey].
func PossessionMessage(chainID string, operator, public []byte) []byte {
	return newEncoder("koinon/beacon/key/1").text(chainID).text(string(operator)).raw(public)
}

// FirstSeed is the seed before there is a beacon.
func FirstSeed(chainID string) []byte {
	return newEncoder("koinon/beacon/first/1").text(chainID).sum()
}

// Value is the beacon that the winner's output gives.
func Value(height int64, seed, output []byte) []byte {
	return newEncoder("koinon/beacon/value/1").height(height).raw(seed).raw(output).sum()
}

// rankBits is the precision of [lot], in bits behind the point.
const rankBits = 40

// lot is -log2 of the number in (0, 1] that the first 8 bytes of an output's
// hash stand for, in units of 2^-40, rounded as this computation rounds.
func lot(output []byte) uint64 {
	h := newEncoder("koinon/beacon/lot/1").raw(output).sum()
	x := binary.BigEndian.Uint64(h)
	if x == 0 {
		return 64 << rankBits
	}
	whole := bits.Len64(x) - 1
	m := x << (63 - whole) // 2^63 <= m < 2^64 stands for m/2^63 in [1, 2)
	log := uint64(whole)
	for range rankBits {
		m, _ = bits.Mul64(m, m) // the square over 2^64: half of what it stands for
		log <<= 1
		if m>>63 == 1 { // the square was 2 or more
			log |= 1
		} else {
			m <<= 1
		}
	}
	return 64<<rankBits - log
}

// before says whether a validator with power and output a comes before b: the
// lower quotient of lot and power wins, so that everyone's chance is in
// proportion to his power however he divides it; then the lower address.
func before(outputA []byte, powerA int64, a []byte, outputB []byte, powerB int64, b []byte) bool {
	left := new(big.Int).Mul(new(big.Int).SetUint64(lot(outputA)), big.NewInt(powerB))
	right := new(big.Int).Mul(new(big.Int).SetUint64(lot(outputB)), big.NewInt(powerA))
	if c := left.Cmp(right); c != 0 {
		return c < 0
	}
	return bytes.Compare(a, b) < 0
}

// active is the key that a validator contributes to height with.
func (m Member) active(height int64) ([]byte, bool) {
	for i := len(m.Keys) - 1; i >= 0; i-- {
		if m.Keys[i].From <= height {
			return m.Keys[i].Public, true
		}
	}
	return nil, false
}

func checkKey(public []byte) error {
	if len(public) != vrf.KeySize {
		return errors.New("a key has 32 bytes")
	}
	return nil
}
