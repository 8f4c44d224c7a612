package x402

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Config is what a paywall needs; every field without a default is required.
type Config struct {
	Facilitator *Facilitator
	// PayTo is the account that is paid; it must be the ledger's own.
	PayTo core.Address
	// Books is the file in which metered channels are kept.
	Books string
	// Fee is added to a call paid by a transaction of its own (default
	// 0.0002 koin): it covers the transaction's fee.
	Fee core.Amount
	// Markup is how many 10,000ths of its cost a metered call is charged (default
	// 20,000: a claim's split leaves its receiver half).
	Markup uint64
	// WithdrawDelay of channels, in seconds (default 3,600).
	WithdrawDelay uint64
	// ClaimEvery is how often metered money is claimed (default 1 minute).
	ClaimEvery time.Duration
	// ClaimAmount is the least that one channel's claim is made for, unless it is
	// about to close (default 0.01 koin).
	ClaimAmount core.Amount
	Log         *slog.Logger
}

// Paywall asks callers to pay. It is safe for concurrent use.
type Paywall struct {
	cfg    Config
	f      *Facilitator
	books  *books
	secret [32]byte // binds MPP challenges to this process
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	inFlight map[core.Hash]bool           // authorizations and channels at work
	reserved map[core.Address]core.Amount // promised and not yet settled, by payer
}

// NewPaywall opens the books and begins to claim.
func NewPaywall(cfg Config) (*Paywall, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Fee.IsZero() {
		cfg.Fee = core.NewAmount(200_000_000_000_000)
	}
	if cfg.Markup == 0 {
		cfg.Markup = 20_000
	}
	if cfg.WithdrawDelay == 0 {
		cfg.WithdrawDelay = 3_600
	}
	if cfg.ClaimEvery == 0 {
		cfg.ClaimEvery = time.Minute
	}
	if cfg.ClaimAmount.IsZero() {
		cfg.ClaimAmount = core.NewAmount(10_000_000_000_000_000)
	}
	p := &Paywall{cfg: cfg, f: cfg.Facilitator, secret: random(), inFlight: map[core.Hash]bool{}, reserved: map[core.Address]core.Amount{}}
	var err error
	if p.books, err = openBooks(cfg.Books, cfg.PayTo, cfg.Facilitator.cfg.ChainID); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.work.Go(func() { p.claimLoop(ctx) })
	return p, nil
}

// Close stops claiming and closes the books. What was not claimed yet is claimed
// after the next start.
func (p *Paywall) Close() error {
	p.cancel()
	p.work.Wait()
	return p.books.close()
}

// Quote is what a call may cost.
type Quote struct {
	Most        core.Amount // paid to providers in the worst case
	Description string
}

// exactPrice is the whole price of a call that is paid before it is measured.
func (p *Paywall) exactPrice(q Quote) core.Amount { return q.Most.Add(p.cfg.Fee) }

// metered is the price of a call that cost so much.
func (p *Paywall) metered(cost core.Amount) core.Amount {
	return cost.Mul(p.cfg.Markup).Add(core.NewAmount(9_999)).Div(10_000)
}

func (p *Paywall) accepts(q Quote) []Requirements {
	base := Requirements{Network: p.f.Network(), Asset: voucher.NativeToken.String(), PayTo: p.cfg.PayTo.String()}
	exact, batch := base, base
	exact.Scheme, exact.Amount, exact.MaxTimeoutSeconds, exact.Extra = SchemeExact, p.exactPrice(q).String(), 300, tokenExtra()
	batch.Scheme, batch.Amount, batch.MaxTimeoutSeconds = SchemeBatch, p.metered(q.Most).String(), 300
	batch.Extra = with(tokenExtra(), map[string]any{"receiverAuthorizer": p.cfg.PayTo.String(), "withdrawDelay": p.cfg.WithdrawDelay})
	return []Requirements{exact, batch}
}

// Bill is one call that will be paid. The caller must end it by Close or Drop.
type Bill struct {
	p      *Paywall
	payer  core.Address
	amount core.Amount // the most it may charge
	// settle makes the payment binding and says how.
	settle func(ctx context.Context) (Settlement, error)
	// charge enters what was metered; nil where the price is fixed.
	charge func(cost core.Amount) (charged core.Amount, state map[string]any, err error)
	free   func()
	write  func(http.Header, Settlement) // the answer's headers

	opened bool
	once   sync.Once
}

// Open makes the payment binding before the first byte of a streamed answer and
// writes its headers. When it fails, nothing was paid.
func (b *Bill) Open(ctx context.Context, h http.Header) error {
	s, err := b.settle(ctx)
	if err != nil {
		return b.p.unpaid(err)
	}
	b.opened = true
	if b.charge != nil {
		s.Extra = map[string]any{"chargedAmount": "0"} // known at the end only
	}
	b.write(h, s)
	return nil
}

// Close ends a call that cost so much. Of a whole answer it makes the payment
// binding and writes the headers; when that fails, nothing was paid and the
// answer must not be given.
func (b *Bill) Close(ctx context.Context, h http.Header, cost core.Amount) (err error) {
	defer b.Drop()
	var s Settlement
	if !b.opened {
		if s, err = b.settle(ctx); err != nil {
			return b.p.unpaid(err)
		}
	}
	if b.charge != nil {
		charged, state, err := b.charge(cost)
		if err != nil {
			return err
		}
		s.Extra = map[string]any{"chargedAmount": charged.String(), "channelState": state}
	}
	if !b.opened {
		b.write(h, s)
	}
	return nil
}

// Drop ends a call that is not charged. After Close it does nothing.
func (b *Bill) Drop() { b.once.Do(b.free) }

// unpaid turns a refusal into the error that a caller sees.
func (p *Paywall) unpaid(err error) error {
	var e *core.Error
	if errors.As(err, &e) && e.Code != core.CodeUnpaid {
		var r *Refusal
		if !errors.As(err, &r) {
			return e
		}
	}
	return &core.Error{Code: core.CodeUnpaid, Message: "the payment failed: " + err.Error(), Next: "nothing was charged; pay again", Err: err}
}

// Admit looks at how a call will be paid. Where it will not be, Admit answers
// with a 402 that says how, and returns nil.
func (p *Paywall) Admit(w http.ResponseWriter, r *http.Request, q Quote) *Bill {
	required := Required{X402Version: Version, Resource: resourceOf(r, q.Description), Accepts: p.accepts(q)}
	var b *Bill
	var err error
	switch header := r.Header.Get(HeaderSignature); {
	case header != "":
		var in Payload
		if in, err = DecodePayload(header); err == nil {
			b, err = p.bill(r.Context(), in, &required)
		}
	case isMPP(r):
		b, err = p.mppBill(r, q)
	default:
		required.Error = "PAYMENT-SIGNATURE header is required"
	}
	if b != nil && err == nil {
		return b
	}
	p.refuse(w, r, q, required, err)
	return nil
}

// refuse writes the 402 (or the 503 of a chain that does not answer).
func (p *Paywall) refuse(w http.ResponseWriter, r *http.Request, q Quote, required Required, err error) {
	status, message := http.StatusPaymentRequired, "this call must be paid"
	next := "pay with an x402 client (scheme exact or batch-settlement) or an MPP client"
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		required.Error, message = refusal.Reason, "the payment is refused: "+refusal.Error()
	case err != nil:
		status, message, next = http.StatusServiceUnavailable, err.Error(), "try again; nothing was charged"
	}
	if status == http.StatusPaymentRequired {
		w.Header().Set(HeaderRequired, encode(required))
		w.Header().Set("WWW-Authenticate", p.challenge(r, q))
		w.Header().Set("Cache-Control", "no-store")
	}
	answer(w, status, map[string]any{"error": map[string]any{
		"message": message + ". Next: " + next, "type": "insufficient_quota", "code": core.CodeUnpaid, "charge": "0", "next": next,
	}})
}

func resourceOf(r *http.Request, description string) Resource {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	path, _, _ := strings.Cut(r.RequestURI, "?") // as it was called, before prefixes were cut off
	return Resource{URL: scheme + "://" + r.Host + path, Description: description, MimeType: "application/json"}
}

// bill checks a payment of x402.
func (p *Paywall) bill(ctx context.Context, in Payload, required *Required) (*Bill, error) {
	for i := range required.Accepts {
		want := required.Accepts[i]
		if want.Scheme != in.Accepted.Scheme {
			continue
		}
		offered, err := core.ParseAmount(in.Accepted.Amount)
		least, _ := core.ParseAmount(want.Amount)
		if err != nil || offered.Cmp(least) < 0 {
			return nil, refused("invalid_payment_requirements", "the call costs up to %s, not %.80q", want.Amount, in.Accepted.Amount)
		}
		want.Amount = offered.String() // a price may have fallen since it was quoted
		if want.Scheme == SchemeExact {
			return p.exactBill(ctx, in, want)
		}
		b, err := p.batchBill(ctx, in, want, required.Accepts[i].Extra)
		return b, err
	}
	return nil, refused("unsupported_scheme", "%.40q", in.Accepted.Scheme)
}

func (p *Paywall) exactBill(ctx context.Context, in Payload, want Requirements) (*Bill, error) {
	t, err := p.f.exact(ctx, in, want)
	if err != nil {
		return nil, err
	}
	return p.transferBill(ctx, t, func(h http.Header, s Settlement) { h.Set(HeaderResponse, encode(s)) })
}

// transferBill is paid by one transfer. Its authorization and its sum are set
// aside, so that neither pays two calls at once.
func (p *Paywall) transferBill(ctx context.Context, t *transfer, write func(http.Header, Settlement)) (*Bill, error) {
	key := voucher.Keccak(t.From[:], t.Nonce[:])
	have, err := p.f.cfg.Ledger.Balance(ctx, t.From)
	if err != nil {
		return nil, unreadable(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight[key] {
		return nil, refused("duplicate_settlement", "the authorization pays another call already")
	}
	sum := p.reserved[t.From].Add(t.Value)
	if sum.Cmp(have) > 0 {
		return nil, refused("invalid_exact_evm_insufficient_balance", "%s holds %s, its calls at work cost %s", t.From, have, sum)
	}
	p.inFlight[key], p.reserved[t.From] = true, sum
	return &Bill{
		p: p, payer: t.From, amount: t.Value, write: write,
		settle: func(ctx context.Context) (Settlement, error) {
			tx, err := p.f.transfer(ctx, t)
			return Settlement{Success: err == nil, Payer: t.From.String(), Transaction: tx, Network: p.f.Network(), Amount: t.Value.String()}, err
		},
		free: func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.inFlight, key)
			if left := p.reserved[t.From].Less(t.Value); left.IsZero() {
				delete(p.reserved, t.From)
			} else {
				p.reserved[t.From] = left
			}
		},
	}, nil
}

func (p *Paywall) String() string { return fmt.Sprintf("paywall of %s", p.cfg.PayTo) }
