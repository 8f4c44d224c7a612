package referee

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// WrongSalt shows that the disputed leaf, as the provider has opened it, does
// not have the salt that request and seed give: its contents may then be true,
// and it is false all the same. Whoever shows it reveals the salts of the answer.
type WrongSalt struct {
	Receipt []byte // the receipt in JSON, without its signature
	Request Opening
	Seed    core.Seed
}

// maxReceipt bounds the receipt in a move, in bytes.
const maxReceipt = 4 << 10

func (*WrongSalt) side() Side { return Challenger }
func (*WrongSalt) tag() uint8 { return 40 }

// Salt is the key of the salts of an answer to the request.
func (o *Opening) Salt(id core.RequestID, seed core.Seed) core.Hash {
	return (&core.Request{ID: id, NonceCommit: o.NonceCommit}).Salt(seed)
}

func (s *State) wrongSalt(v *WrongSalt) error {
	if s.Phase != NeedOperator || s.Claim.Token != nil {
		return errWrong
	}
	move, err := DecodeMove(s.Last)
	shown, ok := move.(*Layer)
	if err != nil || !ok {
		return errWrong
	}
	var r core.Receipt
	if len(v.Receipt) > maxReceipt {
		return fmt.Errorf("a receipt of %d bytes, at most %d are possible", len(v.Receipt), maxReceipt)
	}
	if err := json.Unmarshal(v.Receipt, &r); err != nil || r.Digest() != s.Receipt {
		return errors.New("this is not the receipt in question")
	}
	if err := v.Request.check(&r); err != nil {
		return err
	}
	if v.Seed.Commitment() != r.Seed {
		return errors.New("the seed is not the receipt's")
	}
	if shown.Leaf.Salt == core.BoundarySalt(v.Request.Salt(r.Request, v.Seed), s.Claim.Position, s.Claim.Layer) {
		return errors.New("the leaf has the salt of its request")
	}
	s.Phase, s.Fault = Proven, fmt.Sprintf("leaf (%d,%d) does not have its salt", s.Claim.Position, s.Claim.Layer)
	return nil
}
