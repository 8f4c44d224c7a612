package payment

import (
	"context"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
)

// split collects what the claims of one message pay to whom. Everything that
// no rule gives to anybody, rounding included, is the treasury's, so that the
// parts always sum to the total.
type split struct {
	k        Keeper
	params   Params
	provider sdk.AccAddress

	total  math.Int
	given  math.Int // sum of due
	burned math.Int
	audits math.Int       // the provider's credit grows by it
	due    []payout       // in order of first mention
	place  map[string]int // account -> index in due; never ranged over
}

type payout struct {
	to     sdk.AccAddress
	amount math.Int
}

func newSplit(k Keeper, p Params, provider sdk.AccAddress) *split {
	zero := math.ZeroInt()
	return &split{k: k, params: p, provider: provider, total: zero, given: zero, burned: zero, audits: zero, place: map[string]int{}}
}

// add divides amount, earned by the model with this id; nil when it is unknown
// which model earned it: then its lineage and data parts are the treasury's.
func (s *split) add(ctx context.Context, id []byte, amount math.Int) error {
	s.total = s.total.Add(amount)
	s.give(s.provider, part(amount, s.params.ProviderPoints))
	s.burned = s.burned.Add(part(part(amount, s.params.ProtocolPoints), s.params.BurnPoints))
	s.audits = s.audits.Add(part(amount, s.params.AuditPoints))
	if id == nil {
		return nil
	}
	m, err := s.k.models.Model(ctx, id)
	if err != nil {
		return ErrAttribution.Wrap(err.Error())
	}
	if err := s.shares(m.Data, part(amount, s.params.DataPoints)); err != nil {
		return err
	}
	return s.lineage(ctx, m, part(amount, s.params.LineagePoints))
}

// lineage gives a model's owners their part and passes the rest to its parent,
// and so on; a base model keeps all that reached it.
func (s *split) lineage(ctx context.Context, m model.Model, amount math.Int) error {
	for len(m.Parent) != 0 && amount.IsPositive() {
		passed := part(amount, s.params.ParentPoints)
		if err := s.shares(m.Shares, amount.Sub(passed)); err != nil {
			return err
		}
		var err error
		if m, err = s.k.models.Model(ctx, m.Parent); err != nil {
			return err
		}
		amount = passed
	}
	return s.shares(m.Shares, amount)
}

// shares divides amount; without shares it is the provider's.
func (s *split) shares(to []model.Share, amount math.Int) error {
	if len(to) == 0 {
		s.give(s.provider, amount)
	}
	for _, h := range to {
		a, err := s.k.account(h.Account)
		if err != nil {
			return err
		}
		s.give(a, part(amount, h.Points))
	}
	return nil
}

// give records a payment, unless the account cannot receive money.
func (s *split) give(to sdk.AccAddress, amount math.Int) {
	if !amount.IsPositive() || s.k.bank.BlockedAddr(to) {
		return
	}
	s.given = s.given.Add(amount)
	if i, ok := s.place[string(to)]; ok {
		s.due[i].amount = s.due[i].amount.Add(amount)
		return
	}
	s.place[string(to)] = len(s.due)
	s.due = append(s.due, payout{to, amount})
}

// hold hands the market what it keeps of the provider's part until it is final.
func (s *split) hold(ctx context.Context) error {
	own, i := math.ZeroInt(), -1
	if at, ok := s.place[string(s.provider)]; ok {
		own, i = s.due[at].amount, at
	}
	held, err := s.k.market.Earn(ctx, s.provider, s.total, own)
	if err != nil || !held.IsPositive() {
		return err
	}
	s.due[i].amount = own.Sub(held)
	return s.k.bank.SendCoinsFromModuleToModule(ctx, ModuleName, market.ModuleName, coins(held))
}

// pay moves the money: parts to accounts, some burned, some kept for audits, the
// rest to the treasury.
func (s *split) pay(ctx context.Context) error {
	for _, p := range s.due {
		if p.amount.IsZero() {
			continue
		}
		if err := s.k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, p.to, coins(p.amount)); err != nil {
			return err
		}
	}
	if s.burned.IsPositive() {
		if err := s.k.bank.BurnCoins(ctx, ModuleName, coins(s.burned)); err != nil {
			return err
		}
	}
	if err := s.k.addCredit(ctx, s.provider, s.audits); err != nil {
		return err
	}
	rest := s.total.Sub(s.given).Sub(s.burned).Sub(s.audits)
	if rest.IsPositive() {
		if err := s.k.treasury.FundCommunityPool(ctx, coins(rest), s.k.self()); err != nil {
			return err
		}
	}
	t, err := s.k.totals.Get(ctx)
	if err != nil {
		return err
	}
	return s.k.totals.Set(ctx, Totals{
		Claimed: t.Claimed.Add(s.total), Burned: t.Burned.Add(s.burned), Treasury: t.Treasury.Add(rest),
	})
}
