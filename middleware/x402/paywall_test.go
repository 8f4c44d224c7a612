package x402

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

const chainID = 564666

var (
	payer    = key(1)
	gateway  = key(2)
	stranger = key(3)
)

func key(n byte) *voucher.Key {
	k, err := voucher.NewKey(append(make([]byte, 31), n))
	if err != nil {
		panic(err)
	}
	return k
}

// ledger is a chain in memory, with the rules that matter here.
type ledger struct {
	mu       sync.Mutex
	now      func() time.Time
	balances map[core.Address]core.Amount
	used     map[core.Hash]bool
	channels map[core.ChannelID]core.Channel
	sent     int
	fail     error
}

func (l *ledger) Balance(_ context.Context, a core.Address) (core.Amount, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.balances[a], nil
}

func (l *ledger) Channel(_ context.Context, id core.ChannelID) (core.Channel, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.channels[id]
	if !ok {
		return c, core.Errorf(core.CodeInvalid, "there is no channel")
	}
	return c, nil
}

func (l *ledger) Used(_ context.Context, a core.Address, n core.Hash) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used[voucher.Keccak(a[:], n[:])], nil
}

func (l *ledger) spend(a voucher.Authorization) error {
	k := voucher.Keccak(a.From[:], a.Nonce[:])
	switch {
	case l.fail != nil:
		return l.fail
	case l.used[k]:
		return errors.New("authorization is used or canceled")
	case l.balances[a.From].Cmp(a.Value) < 0:
		return errors.New("transfer amount exceeds balance")
	}
	l.used[k], l.balances[a.From] = true, l.balances[a.From].Less(a.Value)
	l.sent++
	return nil
}

func (l *ledger) Transfer(_ context.Context, a voucher.Authorization, s core.Signature) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := voucher.VerifyDigest(a.TransferDigest(voucher.NewTokenDomain(chainID)), s, a.From); err != nil {
		return core.Hash{}, err
	}
	if err := l.spend(a); err != nil {
		return core.Hash{}, err
	}
	l.balances[a.To] = l.balances[a.To].Add(a.Value)
	return core.Hash{1}, nil
}

func (l *ledger) Deposit(_ context.Context, d Deposit) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := d.Config.ID(voucher.NewDomain(chainID))
	if err := l.spend(d.Authorization(id)); err != nil {
		return core.Hash{}, err
	}
	c := l.channels[id]
	if c.ID.IsZero() {
		c = core.Channel{ID: id, Payer: d.Config.Payer, Signer: d.Config.PayerAuthorizer, Provider: d.Config.Receiver, State: core.ChannelOpen,
			Expiry: l.now().Add(24 * time.Hour).Unix()}
	}
	c.Deposit = c.Deposit.Add(d.Amount)
	l.channels[id] = c
	return core.Hash{2}, nil
}

func (l *ledger) Claim(_ context.Context, claims []Claim) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range claims {
		ch := l.channels[c.Voucher.Channel]
		switch {
		case voucher.Verify(voucher.NewDomain(chainID), c.Voucher, ch.Signer) != nil:
			return core.Hash{}, errors.New("bad voucher")
		case c.Total.Cmp(c.Voucher.Amount) > 0 || c.Total.Cmp(ch.Deposit) > 0 || c.Total.Cmp(ch.Claimed) <= 0:
			return core.Hash{}, fmt.Errorf("claim of %s", c.Total)
		}
	}
	for _, c := range claims {
		ch := l.channels[c.Voucher.Channel]
		ch.Claimed = c.Total
		l.channels[c.Voucher.Channel] = ch
	}
	l.sent++
	return core.Hash{3}, nil
}

func (l *ledger) Refund(_ context.Context, id core.ChannelID, a core.Amount) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channels[id]
	if c.Deposit.Less(c.Claimed).Cmp(a) < 0 {
		return core.Hash{}, errors.New("too much")
	}
	c.Deposit = c.Deposit.Less(a)
	l.channels[id] = c
	l.balances[c.Payer] = l.balances[c.Payer].Add(a)
	return core.Hash{4}, nil
}

// shop is a paywall before something that costs 1,000, or 2,000 in the worst case.
type shop struct {
	*Paywall
	t      *testing.T
	ledger *ledger
	time   time.Time
	stream bool
	broken bool
	cost   uint64
}

const funds = 1_000_000

func newShop(t *testing.T) *shop {
	s := &shop{t: t, time: time.Unix(1_800_000_000, 0), cost: 1_000}
	s.ledger = &ledger{now: func() time.Time { return s.time }, balances: map[core.Address]core.Amount{payer.Address(): core.NewAmount(funds)}, used: map[core.Hash]bool{}, channels: map[core.ChannelID]core.Channel{}}
	s.open(filepath.Join(t.TempDir(), "books.db"))
	return s
}

func (s *shop) open(path string) {
	f := NewFacilitator(FacilitatorConfig{ChainID: chainID, Ledger: s.ledger, Account: gateway.Address(), Now: func() time.Time { return s.time }})
	p, err := NewPaywall(Config{Facilitator: f, PayTo: gateway.Address(), Books: path, Fee: core.NewAmount(500), ClaimEvery: time.Hour})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { p.Close() })
	s.Paywall = p
}

// ServeHTTP sells.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := s.Admit(w, r, Quote{Most: core.NewAmount(2_000)})
	if b == nil {
		return
	}
	defer b.Drop()
	if s.broken {
		http.Error(w, "no provider", http.StatusBadGateway)
		return
	}
	var err error
	if s.stream {
		err = b.Open(r.Context(), w.Header())
	} else {
		err = b.Close(r.Context(), w.Header(), core.NewAmount(s.cost))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusPaymentRequired)
		return
	}
	fmt.Fprint(w, "answer")
	if s.stream {
		if err := b.Close(r.Context(), nil, core.NewAmount(s.cost)); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *shop) call(name, value string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://gateway.test/v1/chat/completions", nil)
	if name != "" {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func (s *shop) required(w *httptest.ResponseRecorder) (q Required) {
	s.t.Helper()
	b, err := base64.StdEncoding.DecodeString(w.Header().Get(HeaderRequired))
	if err == nil {
		err = json.Unmarshal(b, &q)
	}
	if err != nil || w.Code != http.StatusPaymentRequired {
		s.t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return q
}

func (s *shop) holds(who *voucher.Key, want uint64) {
	s.t.Helper()
	if have, _ := s.ledger.Balance(context.Background(), who.Address()); have.Cmp(core.NewAmount(want)) != 0 {
		s.t.Fatalf("the account holds %s, want %d", have, want)
	}
}

type object = map[string]any

func text(b []byte) string { return fmt.Sprintf("0x%x", b) }

// exactHeader pays like a stock client; change alters the payment before it is
// signed, after alters what was signed.
func (s *shop) exactHeader(nonce byte, change func(*voucher.Authorization, *voucher.Domain), after func(object)) string {
	want := s.required(s.call("", "")).Accepts[0]
	value, _ := core.ParseAmount(want.Amount)
	a := voucher.Authorization{From: payer.Address(), To: gateway.Address(), Value: value,
		ValidAfter: core.NewAmount(uint64(s.time.Unix() - 600)), ValidBefore: core.NewAmount(uint64(s.time.Unix() + 300)), Nonce: core.Hash{nonce}}
	d := voucher.NewTokenDomain(chainID)
	if change != nil {
		change(&a, &d)
	}
	sig, _ := payer.Sign(a.TransferDigest(d))
	p := object{"x402Version": 2, "accepted": want, "payload": object{"signature": text(sig[:]), "authorization": object{
		"from": a.From, "to": a.To, "value": a.Value, "validAfter": a.ValidAfter, "validBefore": a.ValidBefore, "nonce": text(a.Nonce[:])}}}
	if after != nil {
		after(p)
	}
	return encode(p)
}

func settlement(t *testing.T, w *httptest.ResponseRecorder) (s Settlement) {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(w.Header().Get(HeaderResponse))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil || w.Code != http.StatusOK || !s.Success {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return s
}

func TestExactBuysOneAnswer(t *testing.T) {
	for _, stream := range []bool{false, true} {
		s := newShop(t)
		s.stream = stream
		h := s.exactHeader(1, nil, nil)
		w := s.call(HeaderSignature, h)
		if got := settlement(t, w); got.Transaction == "" || w.Body.String() != "answer" {
			t.Fatalf("%+v, %s", got, w.Body)
		}
		s.holds(payer, funds-2_500)
		s.holds(gateway, 2_500)
		if q := s.required(s.call(HeaderSignature, h)); q.Error != "invalid_exact_evm_nonce_already_used" {
			t.Fatalf("replay: %s", q.Error)
		}
		s.holds(payer, funds-2_500)
	}
}

func TestFailedAnswerCostsNothing(t *testing.T) {
	s := newShop(t)
	h := s.exactHeader(1, nil, nil)
	s.broken = true
	if w := s.call(HeaderSignature, h); w.Code != http.StatusBadGateway {
		t.Fatal(w.Code)
	}
	s.holds(payer, funds)
	s.broken = false
	settlement(t, s.call(HeaderSignature, h)) // the same payment buys the next try
	s.holds(payer, funds-2_500)
	s = newShop(t)
	s.ledger.fail = errors.New("the chain refuses")
	if w := s.call(HeaderSignature, s.exactHeader(1, nil, nil)); w.Code != http.StatusPaymentRequired || strings.Contains(w.Body.String(), "answer") && !strings.Contains(w.Body.String(), "refuses") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	s.holds(payer, funds)
}

func TestBadExactPaymentsAreRefusedAndMoveNothing(t *testing.T) {
	in := func(name string, v any) func(object) {
		return func(o object) { o["payload"].(object)["authorization"].(object)[name] = v }
	}
	for name, v := range map[string]struct {
		change func(*voucher.Authorization, *voucher.Domain)
		after  func(object)
		want   string
	}{
		"chain":         {func(_ *voucher.Authorization, d *voucher.Domain) { *d = voucher.NewTokenDomain(1) }, nil, "invalid_exact_evm_signature"},
		"domain":        {func(_ *voucher.Authorization, d *voucher.Domain) { *d = voucher.NewDomain(chainID) }, nil, "invalid_exact_evm_signature"},
		"malleable":     {nil, func(o object) { p := o["payload"].(object); p["signature"] = twin(p["signature"].(string)) }, "invalid_exact_evm_signature"},
		"altered value": {nil, in("value", "1"), "invalid_exact_evm_payload_authorization_value_mismatch"},
		"altered nonce": {nil, in("nonce", text(make([]byte, 32))), "invalid_exact_evm_signature"},
		"altered payee": {nil, in("to", stranger.Address()), "invalid_exact_evm_recipient_mismatch"},
		"other payer":   {nil, in("from", stranger.Address()), "invalid_exact_evm_signature"},
		"expired":       {func(a *voucher.Authorization, _ *voucher.Domain) { a.ValidBefore = core.NewAmount(1_800_000_005) }, nil, "invalid_exact_evm_payload_authorization_valid_before"},
		"early":         {func(a *voucher.Authorization, _ *voucher.Domain) { a.ValidAfter = core.NewAmount(1_800_000_000) }, nil, "invalid_exact_evm_payload_authorization_valid_after"},
		"too little":    {nil, func(o object) { r := o["accepted"].(Requirements); r.Amount = "1"; o["accepted"] = r }, "invalid_payment_requirements"},
		"under-funded":  {func(a *voucher.Authorization, _ *voucher.Domain) { a.Value = core.NewAmount(funds + 1) }, func(o object) { r := o["accepted"].(Requirements); r.Amount = fmt.Sprint(funds + 1); o["accepted"] = r }, "invalid_exact_evm_insufficient_balance"},
		"network":       {nil, func(o object) { r := o["accepted"].(Requirements); r.Network = "eip155:1"; o["accepted"] = r }, "invalid_exact_evm_network_mismatch"},
		"version 1":     {nil, func(o object) { o["x402Version"] = 1 }, "invalid_x402_version"},
		"scheme":        {nil, func(o object) { r := o["accepted"].(Requirements); r.Scheme = "upto"; o["accepted"] = r }, "unsupported_scheme"},
		"asset": {nil, func(o object) {
			r := o["accepted"].(Requirements)
			r.Asset = stranger.Address().String()
			o["accepted"] = r
		}, "invalid_payment_requirements"},
		"negative value": {nil, in("value", "-1"), "invalid_payload"},
		"huge value":     {nil, in("value", strings.Repeat("9", 79)), "invalid_payload"},
		"number":         {nil, in("value", 2500), "invalid_payload"},
		"no payload":     {nil, func(o object) { delete(o, "payload") }, "invalid_payload"},
		"short nonce":    {nil, in("nonce", "0x01"), "invalid_payload"},
	} {
		s := newShop(t)
		if q := s.required(s.call(HeaderSignature, s.exactHeader(1, v.change, v.after))); q.Error != v.want {
			t.Errorf("%s: %s, want %s", name, q.Error, v.want)
		}
		s.holds(payer, funds)
		if s.ledger.sent != 0 {
			t.Errorf("%s: a transaction was sent", name)
		}
	}
}

func twin(sig string) string {
	var raw [65]byte
	b := core.Bytes{}
	_ = b.UnmarshalText([]byte(sig))
	copy(raw[:], b)
	var n secp256k1.ModNScalar
	n.SetByteSlice(raw[32:64])
	n.Negate()
	w := n.Bytes()
	copy(raw[32:64], w[:])
	raw[64] ^= 27 ^ 28
	return text(raw[:])
}

func TestHeaderBombsAreRefused(t *testing.T) {
	s := newShop(t)
	for name, h := range map[string]string{
		"long":    strings.Repeat("A", MaxHeader+1),
		"deep":    base64.StdEncoding.EncodeToString([]byte(strings.Repeat(`{"payload":`, 2_000) + "1" + strings.Repeat("}", 2_000))),
		"garbage": "%%%",
		"two":     base64.StdEncoding.EncodeToString([]byte(`{"x402Version":2}{}`)),
		"null":    base64.StdEncoding.EncodeToString([]byte(`null`)),
		"list":    base64.StdEncoding.EncodeToString([]byte(`[]`)),
	} {
		if q := s.required(s.call(HeaderSignature, h)); q.Error != "invalid_payload" && q.Error != "invalid_x402_version" {
			t.Errorf("%s: %s", name, q.Error)
		}
		if w := s.call("Authorization", "Payment "+h); w.Code != http.StatusPaymentRequired {
			t.Errorf("%s as a credential: %d", name, w.Code)
		}
	}
}

// wallet is a stock client's side of a channel.
type wallet struct {
	s       *shop
	charged uint64
	balance uint64
	salt    byte
	signed  uint64
}

func (c *wallet) config(r Requirements) (voucher.ChannelConfig, object) {
	delay := r.Extra["withdrawDelay"]
	conf := voucher.ChannelConfig{Payer: payer.Address(), PayerAuthorizer: payer.Address(), Receiver: gateway.Address(), ReceiverAuthorizer: gateway.Address(),
		Token: voucher.NativeToken, WithdrawDelay: uint64(delay.(float64))}
	return conf, object{"payer": conf.Payer, "payerAuthorizer": conf.PayerAuthorizer, "receiver": conf.Receiver, "receiverAuthorizer": conf.ReceiverAuthorizer,
		"token": conf.Token, "withdrawDelay": delay, "salt": text(conf.Salt[:])}
}

func (c *wallet) header(change func(object)) string {
	want := c.s.required(c.s.call("", "")).Accepts[1]
	amount, _ := core.ParseAmount(want.Amount)
	conf, js := c.config(want)
	id := conf.ID(voucher.NewDomain(chainID))
	c.signed = c.charged + amount.Big().Uint64()
	v, _ := voucher.Sign(voucher.NewDomain(chainID), payer, id, core.NewAmount(c.signed))
	pay := object{"type": "voucher", "channelConfig": js, "voucher": object{"channelId": text(id[:]), "maxClaimableAmount": fmt.Sprint(c.signed), "signature": text(v.Signature[:])}}
	if c.signed > c.balance {
		c.salt++
		d := Deposit{Config: conf, Amount: core.NewAmount(20_000), ValidBefore: core.NewAmount(uint64(c.s.time.Unix() + 300)), Salt: core.Hash{31: c.salt}}
		sig, _ := payer.Sign(d.Authorization(id).ReceiveDigest(voucher.NewTokenDomain(chainID)))
		pay["type"] = "deposit"
		pay["deposit"] = object{"amount": "20000", "authorization": object{"erc3009Authorization": object{
			"validAfter": "0", "validBefore": d.ValidBefore, "salt": text(d.Salt[:]), "signature": text(sig[:])}}}
	}
	p := object{"x402Version": 2, "accepted": want, "payload": pay}
	if change != nil {
		change(p)
	}
	return encode(p)
}

func TestMeteredCallsAreChargedWhatTheyCost(t *testing.T) {
	s := newShop(t)
	c := &wallet{s: s}
	got := settlement(t, s.call(HeaderSignature, c.header(nil)))
	if got.Amount != "20000" || got.Extra["chargedAmount"] != "2000" { // twice the cost of 1,000
		t.Fatalf("%+v", got)
	}
	s.holds(payer, funds-20_000)
	c.charged, c.balance = 2_000, 20_000
	got = settlement(t, s.call(HeaderSignature, c.header(nil)))
	if got.Amount != "" || got.Transaction != "" || got.Extra["channelState"].(object)["chargedCumulativeAmount"] != "4000" {
		t.Fatalf("%+v", got)
	}
	c.charged = 4_000
	// A stream says 0 first; the client's next voucher is too small and is corrected.
	s.stream, s.cost = true, 500
	got = settlement(t, s.call(HeaderSignature, c.header(nil)))
	if got.Extra["chargedAmount"] != "0" {
		t.Fatalf("%+v", got)
	}
	last := c.signed
	q := s.required(s.call(HeaderSignature, c.header(nil)))
	state, _ := q.Accepts[1].Extra["channelState"].(object)
	signed, _ := q.Accepts[1].Extra["voucherState"].(object)
	if q.Error != "invalid_batch_settlement_evm_cumulative_amount_mismatch" || state["chargedCumulativeAmount"] != "5000" || signed["signedMaxClaimable"] != fmt.Sprint(last) {
		t.Fatalf("%s %v %v", q.Error, state, signed)
	}
	c.charged = 5_000
	settlement(t, s.call(HeaderSignature, c.header(nil)))
	c.charged = 6_000
	// Books survive; what was metered is claimed, not what was signed.
	path := s.cfg.Books
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.open(path)
	if err := s.Claim(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	for _, ch := range s.ledger.channels {
		if ch.Claimed.String() != "6000" {
			t.Fatalf("claimed %s", ch.Claimed)
		}
	}
	if err := s.Claim(context.Background(), true); err != nil || s.ledger.sent != 2 {
		t.Fatalf("%v after %d transactions", err, s.ledger.sent)
	}
}

func TestOneChannelPaysOneCallAtATime(t *testing.T) {
	s := newShop(t)
	c := &wallet{s: s}
	settlement(t, s.call(HeaderSignature, c.header(nil)))
	c.charged, c.balance = 2_000, 20_000
	h := c.header(nil)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set(HeaderSignature, h)
	first := s.Admit(httptest.NewRecorder(), r, Quote{Most: core.NewAmount(2_000)})
	if first == nil {
		t.Fatal("refused")
	}
	if q := s.required(s.call(HeaderSignature, h)); q.Error != "invalid_batch_settlement_evm_channel_busy" {
		t.Fatal(q.Error)
	}
	first.Drop()
	settlement(t, s.call(HeaderSignature, h)) // nothing was charged for the first
}

func TestTwoGatewaysRaceOnOneChannel(t *testing.T) {
	s := newShop(t)
	c := &wallet{s: s}
	settlement(t, s.call(HeaderSignature, c.header(nil)))
	first := s.Paywall
	s.open(filepath.Join(t.TempDir(), "other.db")) // the same account, other books
	c.balance = 20_000
	settlement(t, s.call(HeaderSignature, c.header(nil))) // it knows of no charge: the client says none
	if err := errors.Join(first.Claim(context.Background(), true)); err != nil {
		t.Fatal(err)
	}
	// The second claims no more than what is above the first's, which is nothing.
	if err := s.Claim(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	for _, ch := range s.ledger.channels {
		if ch.Claimed.String() != "2000" {
			t.Fatalf("claimed %s", ch.Claimed)
		}
	}
}

func TestBadChannelPaymentsAreRefused(t *testing.T) {
	pay := func(o object) object { return o["payload"].(object) }
	for name, v := range map[string]struct {
		change func(object)
		want   string
	}{
		"receiver":   {func(o object) { pay(o)["channelConfig"].(object)["receiver"] = stranger.Address() }, "receiver_mismatch"},
		"authorizer": {func(o object) { pay(o)["channelConfig"].(object)["receiverAuthorizer"] = stranger.Address() }, "receiver_authorizer_mismatch"},
		"token":      {func(o object) { pay(o)["channelConfig"].(object)["token"] = stranger.Address() }, "token_mismatch"},
		"delay":      {func(o object) { pay(o)["channelConfig"].(object)["withdrawDelay"] = 900 }, "withdraw_delay_mismatch"},
		"short":      {func(o object) { pay(o)["channelConfig"].(object)["withdrawDelay"] = 1 }, "withdraw_delay_out_of_range"},
		"salt":       {func(o object) { pay(o)["channelConfig"].(object)["salt"] = text(append(make([]byte, 31), 1)) }, "channel_id_mismatch"},
		"amount":     {func(o object) { pay(o)["voucher"].(object)["maxClaimableAmount"] = "1" }, "voucher_signature"},
		"malleable":  {func(o object) { p := pay(o)["voucher"].(object); p["signature"] = twin(p["signature"].(string)) }, "voucher_signature"},
		"no deposit": {func(o object) { pay(o)["type"] = "voucher" }, "channel_not_found"},
		"type":       {func(o object) { pay(o)["type"] = "gift" }, "payload_type"},
		"permit2":    {func(o object) { pay(o)["deposit"].(object)["authorization"] = object{"permit2Authorization": object{}} }, "erc3009_authorization_required"},
		"small":      {func(o object) { pay(o)["deposit"].(object)["amount"] = "1" }, "receive_authorization_signature"},
		"expired": {func(o object) {
			pay(o)["deposit"].(object)["authorization"].(object)["erc3009Authorization"].(object)["validBefore"] = "1"
		}, "payload_authorization_valid_before"},
	} {
		s := newShop(t)
		c := &wallet{s: s}
		if q := s.required(s.call(HeaderSignature, c.header(v.change))); q.Error != batchCodes+v.want {
			t.Errorf("%s: %s", name, q.Error)
		}
		s.holds(payer, funds)
	}
	s := newShop(t)
	s.ledger.balances[payer.Address()] = core.NewAmount(19_999)
	if q := s.required(s.call(HeaderSignature, (&wallet{s: s}).header(nil))); q.Error != batchCodes+"insufficient_balance" {
		t.Error(q.Error)
	}
}

func TestRefundReturnsTheRest(t *testing.T) {
	s := newShop(t)
	c := &wallet{s: s}
	settlement(t, s.call(HeaderSignature, c.header(nil)))
	ask := func(charged uint64) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeRefund(w, httptest.NewRequest("GET", "http://gateway.test/v1/chat/completions", nil))
		want := s.required(w).Accepts[1]
		conf, js := c.config(want)
		id := conf.ID(voucher.NewDomain(chainID))
		v, _ := voucher.Sign(voucher.NewDomain(chainID), payer, id, core.NewAmount(charged))
		r := httptest.NewRequest("GET", "http://gateway.test/v1/chat/completions", nil)
		r.Header.Set(HeaderSignature, encode(object{"x402Version": 2, "accepted": want, "payload": object{"type": "refund", "channelConfig": js,
			"voucher": object{"channelId": text(id[:]), "maxClaimableAmount": fmt.Sprint(charged), "signature": text(v.Signature[:])}}}))
		w = httptest.NewRecorder()
		s.ServeRefund(w, r)
		return w
	}
	if q := s.required(ask(0)); q.Error != batchCodes+"cumulative_amount_mismatch" {
		t.Fatal(q.Error)
	}
	if got := settlement(t, ask(2_000)); got.Amount != "18000" {
		t.Fatalf("%+v", got)
	}
	s.holds(payer, funds-2_000) // of which the gateway has claimed 2,000
	if q := s.required(ask(2_000)); q.Error != batchCodes+"refund_no_balance" {
		t.Fatal(q.Error)
	}
}

func TestMPPChargeBuysOneAnswer(t *testing.T) {
	s := newShop(t)
	header := func(change func(*mppChallenge, *voucher.Authorization)) string {
		var c mppChallenge
		challenge := s.call("", "").Header().Get("WWW-Authenticate")
		if _, err := fmt.Sscanf(strings.ReplaceAll(challenge, ",", ""), "Payment id=%q realm=%q method=%q intent=%q request=%q expires=%q", &c.ID, &c.Realm, &c.Method, &c.Intent, &c.Request, &c.Expires); err != nil {
			t.Fatal(err, challenge)
		}
		a := voucher.Authorization{From: payer.Address(), To: gateway.Address(), Value: core.NewAmount(2_500),
			ValidBefore: core.NewAmount(uint64(s.time.Unix() + 300)), Nonce: voucher.Keccak([]byte(c.ID + c.Realm))}
		if change != nil {
			change(&c, &a)
		}
		sig, _ := payer.Sign(a.TransferDigest(voucher.NewTokenDomain(chainID)))
		return "Payment " + strings.TrimRight(base64.URLEncoding.EncodeToString(must(json.Marshal(object{"challenge": c, "payload": object{"type": "authorization", "from": a.From, "to": a.To,
			"value": a.Value, "validAfter": a.ValidAfter, "validBefore": a.ValidBefore, "nonce": text(a.Nonce[:]), "signature": text(sig[:])}}))), "=")
	}
	for name, change := range map[string]func(*mppChallenge, *voucher.Authorization){
		"cheaper request": func(c *mppChallenge, a *voucher.Authorization) {
			b, _ := base64.RawURLEncoding.DecodeString(c.Request)
			c.Request = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(b), "2500", "0001", 1)))
			a.Value = core.NewAmount(1)
		},
		"own nonce":     func(_ *mppChallenge, a *voucher.Authorization) { a.Nonce = core.Hash{9} },
		"later expiry":  func(c *mppChallenge, _ *voucher.Authorization) { c.Expires = "2999-01-01T00:00:00.000Z" },
		"smaller value": func(_ *mppChallenge, a *voucher.Authorization) { a.Value = core.NewAmount(1) },
	} {
		if w := s.call("Authorization", header(change)); w.Code != http.StatusPaymentRequired {
			t.Errorf("%s: %d", name, w.Code)
		}
		s.holds(payer, funds)
	}
	h := header(nil)
	if w := s.call("Authorization", h); w.Code != http.StatusOK || w.Header().Get(HeaderReceipt) == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	s.holds(gateway, 2_500)
	if w := s.call("Authorization", h); w.Code != http.StatusPaymentRequired {
		t.Fatal("a credential bought twice")
	}
	h = header(nil)
	s.time = s.time.Add(mppLife)
	if w := s.call("Authorization", h); w.Code != http.StatusPaymentRequired {
		t.Fatal("an expired challenge bought something")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFacilitatorOverHTTP(t *testing.T) {
	s := newShop(t)
	h := s.f.Handler()
	ask := func(method, path, body string) (out object) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return out
	}
	if kinds := ask("GET", "/supported", "")["kinds"].([]any); len(kinds) != 2 {
		t.Fatal(kinds)
	}
	payload := must(base64.StdEncoding.DecodeString(s.exactHeader(1, nil, nil)))
	want := must(json.Marshal(s.required(s.call("", "")).Accepts[0]))
	body := fmt.Sprintf(`{"x402Version":2,"paymentPayload":%s,"paymentRequirements":%s}`, payload, want)
	if out := ask("POST", "/verify", body); out["isValid"] != true || out["payer"] != payer.Address().String() {
		t.Fatal(out)
	}
	s.holds(payer, funds)
	if out := ask("POST", "/settle", body); out["success"] != true {
		t.Fatal(out)
	}
	s.holds(payer, funds-2_500)
	if out := ask("POST", "/settle", body); out["success"] != false || out["errorReason"] != "invalid_exact_evm_nonce_already_used" {
		t.Fatal(out)
	}
	if out := ask("POST", "/verify", "{"); out["isValid"] != false || out["invalidReason"] != "invalid_payload" {
		t.Fatal(out)
	}
}

func FuzzDecodePayload(f *testing.F) {
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"x402Version":2,"accepted":{"scheme":"exact","extra":{}},"payload":{"signature":"0x","authorization":{"value":"1"}}}`)))
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"x402Version":2,"payload":{"type":"voucher","channelConfig":{"withdrawDelay":900},"deposit":{"amount":"1"}}}`)))
	fac := NewFacilitator(FacilitatorConfig{ChainID: chainID, Ledger: &ledger{}})
	f.Fuzz(func(t *testing.T, h string) {
		p, err := DecodePayload(h)
		if err != nil {
			return
		}
		for _, scheme := range []string{SchemeExact, SchemeBatch} {
			want := Requirements{Scheme: scheme, Network: fac.Network(), Asset: voucher.NativeToken.String(), Extra: tokenExtra()}
			if _, err := fac.Verify(context.Background(), p, want); err == nil {
				t.Fatal("a payment to nobody is accepted")
			}
		}
	})
}

func FuzzDecodeCredential(f *testing.F) {
	f.Add("Payment " + base64.RawURLEncoding.EncodeToString([]byte(`{"challenge":{"id":"x","request":"e30"},"payload":{"type":"authorization","value":"1"}}`)))
	f.Fuzz(func(_ *testing.T, h string) { _, _ = DecodeCredential(h) })
}

// BenchmarkVoucherCheck is all that a metered call's voucher costs the receiver in
// signatures: channel id, digest, recovery.
func BenchmarkVoucherCheck(b *testing.B) {
	conf := voucher.ChannelConfig{Payer: payer.Address(), PayerAuthorizer: payer.Address(), Receiver: gateway.Address(), ReceiverAuthorizer: gateway.Address(), Token: voucher.NativeToken, WithdrawDelay: 3600}
	d := voucher.NewDomain(chainID)
	v, err := voucher.Sign(d, payer, conf.ID(d), core.NewAmount(1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if conf.ID(d) != v.Channel || voucher.Verify(d, v, conf.PayerAuthorizer) != nil {
			b.Fatal("refused")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "vouchers/s")
}
