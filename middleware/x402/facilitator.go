package x402

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// FacilitatorConfig is what a facilitator needs.
type FacilitatorConfig struct {
	ChainID uint64 // EVM chain id
	Ledger  Ledger
	// Account pays the fees of what is settled.
	Account core.Address
	// Payees are the only accounts whose payments are settled; empty means
	// anybody's. Each costs the node's account a fee.
	Payees []core.Address
	Now    func() time.Time // default time.Now
}

// Facilitator checks payments and brings them on chain. It is safe for
// concurrent use.
type Facilitator struct {
	cfg     FacilitatorConfig
	token   voucher.Domain
	channel voucher.Domain
	slots   chan struct{}
}

// maxSettling bounds the transactions in flight: each costs the node a fee.
const maxSettling = 16

// NewFacilitator returns a facilitator.
func NewFacilitator(cfg FacilitatorConfig) *Facilitator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Facilitator{cfg: cfg, token: voucher.NewTokenDomain(cfg.ChainID), channel: voucher.NewDomain(cfg.ChainID), slots: make(chan struct{}, maxSettling)}
}

func (f *Facilitator) now() time.Time { return f.cfg.Now() }

// Network is the chain's CAIP-2 name.
func (f *Facilitator) Network() string { return fmt.Sprintf("eip155:%d", f.cfg.ChainID) }

// fits checks what every scheme has in common.
func (f *Facilitator) fits(p Payload, want Requirements, scheme, codes string) error {
	switch {
	case p.X402Version != Version:
		return refused("invalid_x402_version", "version %d, want %d", p.X402Version, Version)
	case p.Accepted.Scheme != scheme || want.Scheme != scheme:
		return refused(codes+"scheme", "scheme %.40q, want %q", p.Accepted.Scheme, scheme)
	case p.Accepted.Network != f.Network() || want.Network != f.Network():
		return refused(codes+"network_mismatch", "network %.40q, want %q", p.Accepted.Network, f.Network())
	case !sameAddress(want.Asset, voucher.NativeToken) || !sameAddress(p.Accepted.Asset, voucher.NativeToken):
		return refused("invalid_payment_requirements", "asset %.50q, want %s", p.Accepted.Asset, voucher.NativeToken)
	}
	for _, r := range []Requirements{want, p.Accepted} {
		if n, _ := r.Extra["name"].(string); n != voucher.TokenName {
			return refused(codes+"token_name_mismatch", "the token's name is %q", voucher.TokenName)
		}
		if v, _ := r.Extra["version"].(string); v != voucher.TokenVersion {
			return refused(codes+"token_version_mismatch", "the token's version is %q", voucher.TokenVersion)
		}
	}
	return nil
}

// Verify checks a payment without effect and returns who pays. The error is a
// [*Refusal] where the payment is wrong.
func (f *Facilitator) Verify(ctx context.Context, p Payload, want Requirements) (core.Address, error) {
	switch want.Scheme {
	case SchemeExact:
		t, err := f.exact(ctx, p, want)
		if t == nil {
			return core.Address{}, err
		}
		return t.From, err
	case SchemeBatch:
		b, err := f.batch(ctx, p, want)
		if b == nil {
			return core.Address{}, err
		}
		return b.config.Payer, err
	}
	return core.Address{}, refused("unsupported_scheme", "%.40q", want.Scheme)
}

// Settle checks a payment and brings it on chain. A voucher of a channel needs
// no transaction.
func (f *Facilitator) Settle(ctx context.Context, p Payload, want Requirements) Settlement {
	s := Settlement{Network: f.Network()}
	err := f.serves(want)
	switch {
	case err != nil:
	case want.Scheme == SchemeExact:
		var t *transfer
		if t, err = f.exact(ctx, p, want); t != nil {
			s.Payer = t.From.String()
		}
		if err == nil {
			s.Amount = t.Value.String()
			s.Transaction, err = f.transfer(ctx, t)
		}
	case want.Scheme == SchemeBatch:
		var b *batch
		if b, err = f.batch(ctx, p, want); b != nil {
			s.Payer = b.config.Payer.String()
		}
		if err == nil {
			err = f.settleBatch(ctx, b, &s)
		}
	default:
		err = refused("unsupported_scheme", "%.40q", want.Scheme)
	}
	if err != nil {
		s.ErrorReason, s.ErrorMessage = reasonOf(err), err.Error()
		return s
	}
	s.Success = true
	return s
}

// serves refuses to pay the fee of strangers' payments.
func (f *Facilitator) serves(want Requirements) error {
	for _, a := range f.cfg.Payees {
		if sameAddress(want.PayTo, a) {
			return nil
		}
	}
	if len(f.cfg.Payees) == 0 {
		return nil
	}
	return refused("unsupported_payee", "this facilitator settles payments to %s only", f.cfg.Payees[0])
}

// transfer brings a checked payment on chain.
func (f *Facilitator) transfer(ctx context.Context, t *transfer) (string, error) {
	return f.submit(ctx, "invalid_exact_evm_transaction_failed", func(ctx context.Context) (core.Hash, error) {
		return f.cfg.Ledger.Transfer(ctx, t.Authorization, t.signature)
	})
}

// submitTime bounds the wait for a block. A caller that leaves does not stop it.
const submitTime = 30 * time.Second

func (f *Facilitator) submit(ctx context.Context, reason string, send func(context.Context) (core.Hash, error)) (string, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return "", &Refusal{reason, "the node is busy", ctx.Err()}
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), submitTime)
	defer stop()
	h, err := send(ctx)
	if err != nil {
		return "", &Refusal{reason, err.Error(), err}
	}
	return hexOf(h), nil
}

func reasonOf(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return "unexpected_error"
}

// Supported lists what the facilitator can do.
func (f *Facilitator) Supported() map[string]any {
	kind := func(scheme string, extra map[string]any) map[string]any {
		k := map[string]any{"x402Version": Version, "scheme": scheme, "network": f.Network()}
		if extra != nil {
			k["extra"] = extra
		}
		return k
	}
	return map[string]any{
		"kinds":      []any{kind(SchemeExact, tokenExtra()), kind(SchemeBatch, tokenExtra())},
		"extensions": []string{},
		"signers":    map[string][]string{"eip155:*": {f.cfg.Account.String()}},
	}
}

func tokenExtra() map[string]any {
	return map[string]any{"name": voucher.TokenName, "version": voucher.TokenVersion}
}

func with(extra map[string]any, more map[string]any) map[string]any {
	out := maps.Clone(extra)
	maps.Copy(out, more)
	return out
}

// maxBody bounds a facilitator's request.
const maxBody = 64 << 10

// Handler serves POST /verify, POST /settle and GET /supported.
func (f *Facilitator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /supported", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, f.Supported()) })
	mux.HandleFunc("POST /verify", func(w http.ResponseWriter, r *http.Request) {
		p, want, err := readRequest(r)
		var payer core.Address
		if err == nil {
			payer, err = f.Verify(r.Context(), p, want)
		}
		out := map[string]any{"isValid": err == nil}
		if !payer.IsZero() {
			out["payer"] = payer.String()
		}
		if err != nil {
			out["invalidReason"], out["invalidMessage"] = reasonOf(err), err.Error()
		}
		answer(w, http.StatusOK, out)
	})
	mux.HandleFunc("POST /settle", func(w http.ResponseWriter, r *http.Request) {
		p, want, err := readRequest(r)
		if err != nil {
			answer(w, http.StatusOK, Settlement{Network: f.Network(), ErrorReason: reasonOf(err), ErrorMessage: err.Error()})
			return
		}
		answer(w, http.StatusOK, f.Settle(r.Context(), p, want))
	})
	return mux
}

func readRequest(r *http.Request) (Payload, Requirements, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = fmt.Errorf("more than %d bytes", maxBody)
	}
	var in struct {
		X402Version         int          `json:"x402Version"`
		PaymentPayload      Payload      `json:"paymentPayload"`
		PaymentRequirements Requirements `json:"paymentRequirements"`
	}
	if err == nil {
		err = decodeJSON(b, &in)
	}
	if err != nil {
		return Payload{}, Requirements{}, refused("invalid_payload", "the request cannot be read: %v", err)
	}
	return in.PaymentPayload, in.PaymentRequirements, nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
