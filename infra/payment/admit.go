package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// maxPriceBits bounds prices from strangers, far above any sum in existence, so
// that costs cannot overflow an [core.Amount].
const maxPriceBits = 128

// Admit checks that the request is meant for this provider and chain, is
// neither late nor served before, is signed by its channel's signer, and that
// the channel is open, lasts long enough, owes nothing and has enough free for
// the worst case. It fails with CodeInvalid, CodeUnauthorized or CodeUnpaid; an
// error about debt answers [Arrears]. A voucher that comes with the request is
// accepted first.
func (t *Till) Admit(ctx context.Context, r *core.SignedRequest) (core.Tab, error) {
	now := t.opt.Now()
	worst, err := t.inspect(r, now)
	if err != nil {
		return nil, err
	}
	b, err := t.channel(ctx, r.Channel, t.opt.Cache)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	signer, known := b.Channel.Signer, t.served[r.ID]
	t.mu.Unlock()
	if known != 0 {
		return nil, served(r.ID)
	}
	if err := voucher.VerifyDigest(r.Digest(), r.Signature, signer); err != nil {
		return nil, &core.Error{Code: core.CodeUnauthorized, Message: fmt.Sprintf("the request is not signed by %s, the signer of channel %s", signer, r.Channel.Short()), Err: err}
	}
	if r.Voucher != nil && r.Voucher.Channel == r.Channel {
		if err := t.Accept(ctx, *r.Voucher); err != nil {
			return nil, err
		}
	}
	tb, err := t.seat(b, r, worst)
	if core.CodeOf(err) == core.CodeUnpaid && t.stale(b, now) {
		if b, err = t.channel(ctx, r.Channel, 0); err != nil {
			return nil, err
		}
		tb, err = t.seat(b, r, worst)
	}
	if err != nil {
		return nil, err
	}
	if err := t.remember(r); err != nil {
		tb.Close()
		return nil, err
	}
	return tb, nil
}

// inspect checks what needs no channel and returns the request's worst case.
func (t *Till) inspect(r *core.SignedRequest, now time.Time) (worst core.Amount, err error) {
	switch {
	case r.ChainID != t.chainID:
		err = core.Errorf(core.CodeInvalid, "the request is for chain %d, this provider serves chain %d", r.ChainID, t.chainID)
	case r.Provider != t.wallet.Address():
		err = core.Errorf(core.CodeInvalid, "the request is for provider %s, this is %s", r.Provider, t.wallet.Address())
	case r.Expiry < now.Unix():
		err = core.Errorf(core.CodeInvalid, "the request expired %d seconds ago", now.Unix()-r.Expiry)
	case r.Expiry > now.Add(t.opt.Horizon).Unix():
		err = core.Errorf(core.CodeInvalid, "the request expires more than %s ahead", t.opt.Horizon)
	case uint64(r.Prompt) > uint64(len(r.Input)):
		err = core.Errorf(core.CodeInvalid, "the request bills %d prompt tokens of %d", r.Prompt, len(r.Input))
	case r.Pooling == "" && r.Worst().Output == 0:
		err = core.Errorf(core.CodeInvalid, "the request leaves no token to generate")
	case bits(r.PriceIn) > maxPriceBits || bits(r.PriceOut) > maxPriceBits:
		err = core.Errorf(core.CodeInvalid, "the request's price is beyond all money")
	}
	if err != nil {
		return core.Amount{}, err
	}
	return r.Worst().Cost(r.PriceIn, r.PriceOut), nil
}

func bits(a core.Amount) int { return a.Big().BitLen() }

func served(id core.RequestID) error {
	return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("request %s was served already", id.Short()), Next: "draw a new request id"}
}

// stale says whether a fresh reading of the channel may help: payer and
// provider see a top-up at different moments.
func (t *Till) stale(b *book, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Sub(b.read) > 0 && now.Sub(b.read) > t.opt.Cache/10
}

// seat opens the request's tab if the channel can carry it.
func (t *Till) seat(b *book, r *core.SignedRequest, worst core.Amount) (*tab, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := b.Channel
	switch until := t.opt.Now().Add(t.opt.Margin); {
	case t.served[r.ID] != 0:
		return nil, served(r.ID)
	case c.State == core.ChannelWithdrawing:
		return nil, &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("the payer is withdrawing channel %s", c.ID.Short()), Next: "open a new channel"}
	case !c.Usable(until):
		return nil, &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("channel %s is closed or expires within %s", c.ID.Short(), t.opt.Margin), Next: "open a new channel"}
	}
	if len(b.tabs) == 0 && b.paid.Cmp(b.Owed) > 0 {
		// Vouchers for work that a crash made this till forget: it was owed.
		b.charge(r.Model, b.paid.Less(b.Owed))
	}
	if debt := b.debt(); debt.Cmp(b.running()) > 0 {
		left := debt.Less(b.running())
		return nil, inArrears(c.ID, b.paid.Add(left), left)
	}
	if free := b.free(); free.Cmp(worst) < 0 {
		return nil, &core.Error{Code: core.CodeUnpaid,
			Message: fmt.Sprintf("channel %s has %s free, the answer may cost %s", c.ID.Short(), free.Format(), worst.Format()),
			Next:    "top up the channel or lower max_tokens"}
	}
	tb := &tab{till: t, book: b, model: r.Model, worst: worst}
	b.tabs[tb] = struct{}{}
	b.model = r.Model
	t.served[r.ID] = r.Expiry
	return tb, nil
}

// charge adds to what is owed; t.mu is held.
func (b *book) charge(m core.ModelID, amount core.Amount) {
	b.Owed = b.Owed.Add(amount)
	b.Charged[m] = b.Charged[m].Add(amount)
}

// remember makes it durable that the request was served, so that no restart
// serves it again.
func (t *Till) remember(r *core.SignedRequest) error {
	err := t.store.writer.Do(func(tx *bolt.Tx) error {
		js, err := json.Marshal(r.Expiry)
		if err != nil {
			return err
		}
		return tx.Bucket(servedBucket).Put(r.ID[:], js)
	})
	if err != nil {
		return diskError(err)
	}
	return nil
}

// forget drops request ids that are refused as expired anyway.
func (t *Till) forget() {
	now := t.opt.Now().Unix()
	var old []core.RequestID
	t.mu.Lock()
	for id, until := range t.served {
		if until < now {
			old = append(old, id)
			delete(t.served, id)
		}
	}
	t.mu.Unlock()
	if len(old) == 0 {
		return
	}
	t.store.writer.Go(func(tx *bolt.Tx) error {
		for _, id := range old {
			if err := tx.Bucket(servedBucket).Delete(id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

const arrearsParam = "voucher>="

func inArrears(id core.ChannelID, total, debt core.Amount) error {
	return &core.Error{Code: core.CodeUnpaid,
		Message: fmt.Sprintf("channel %s owes %s for earlier answers", id.Short(), debt.Format()),
		Next:    "pay the open answers first", Param: arrearsParam + total.String()}
}

// Arrears reads from a till's refusal the cumulative amount that a voucher must
// reach before the channel is served again (see [Purse.PayArrears]).
func Arrears(err error) (total core.Amount, ok bool) {
	e := asError(err)
	if e == nil || e.Code != core.CodeUnpaid {
		return core.Amount{}, false
	}
	s, ok := strings.CutPrefix(e.Param, arrearsParam)
	if !ok {
		return core.Amount{}, false
	}
	total, perr := core.ParseAmount(s)
	return total, perr == nil
}
