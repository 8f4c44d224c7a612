package p2p

import (
	"crypto/ed25519"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

func wantCode(t *testing.T, err error, code core.Code) *core.Error {
	t.Helper()
	var e *core.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want an error of code %s", err, code)
	}
	return e
}

func TestAnswerArrivesAndIsPaid(t *testing.T) {
	s, p, h := stage(t)
	for range 3 {
		x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
		if err != nil {
			t.Fatal(err)
		}
		if ev, err := x.Recv(t.Context()); err != nil || len(ev.(*core.Accepted).Proof) != ed25519.SignatureSize {
			t.Fatal(ev, err)
		}
		tokens, done, err := drain(t, x)
		if err != nil || len(tokens) != 10 || done == nil || done.Due.Cmp(core.NewAmount(109)) != 0 {
			t.Fatal(tokens, done, err)
		}
		// The last voucher still arrives, though the stream is closed behind it.
		if err := x.Pay(core.Voucher{Channel: core.ChannelID{3}, Amount: done.Due}); err != nil {
			t.Fatal(err)
		}
		x.Close()
		select {
		case v := <-s.paid:
			if v.Amount.Cmp(done.Due) != 0 {
				t.Fatal(v)
			}
		case <-time.After(3 * time.Second):
			t.Fatal("the voucher never arrived")
		}
	}
	if n := len(h.net.Conns()); n != 1 {
		t.Fatalf("%d connections for three exchanges", n)
	}
}

func TestRefusalsKeepTheirCode(t *testing.T) {
	s, p, h := stage(t)
	s.refuse = &core.Error{Code: core.CodeBusy, Message: "full", RetryAfter: 7 * time.Second, Charge: core.NewAmount(5)}
	_, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if e := wantCode(t, err, core.CodeBusy); e.RetryAfter != 7*time.Second || !e.Charge.IsZero() {
		t.Fatalf("%+v", e)
	}
	s.refuse = &core.Error{Code: core.CodeUnpaid, Message: "debt", Param: "voucher>=" + strings.Repeat("9", 78)}
	_, err = h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if e := wantCode(t, err, core.CodeUnpaid); len(e.Param) != 87 {
		t.Fatalf("%+v", e)
	}
	s.refuse = errors.New("secret path /home/x")
	_, err = h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if e := wantCode(t, err, core.CodeProvider); strings.Contains(e.Error(), "secret") {
		t.Fatal(e)
	}
}

func TestBrokenPromisesAreNamed(t *testing.T) {
	chunk := func(f func(c *core.Chunk)) func(*script) {
		return func(s *script) {
			s.bend.chunk = func(n int, c *core.Chunk) {
				if n == 2 {
					f(c)
				}
			}
		}
	}
	done := func(f func(d *core.Done)) func(*script) { return func(s *script) { s.bend.done = f } }
	for name, c := range map[string]struct {
		says   string
		tokens int // delivered before it shows
		bend   func(s *script)
	}{
		"VRF proof":       {"VRF", 0, func(s *script) { s.bend.proof = func(p []byte) { p[3]++ } }},
		"flipped token":   {"other tokens", 4, chunk(func(c *core.Chunk) { c.Tokens = []core.Token{5, 99} })},
		"negative token":  {"vocabulary", 4, chunk(func(c *core.Chunk) { c.Tokens = []core.Token{5, -6} })},
		"miscount":        {"miscounted", 4, chunk(func(c *core.Chunk) { c.Progress.Count++ })},
		"empty":           {"empty", 4, chunk(func(c *core.Chunk) { c.Tokens = nil })},
		"price":           {"asks 61", 4, chunk(func(c *core.Chunk) { c.Due = core.NewAmount(61) })},
		"signature":       {"signature", 4, chunk(func(c *core.Chunk) { c.Progress.Signature[5]++ })},
		"other request":   {"another request", 4, chunk(func(c *core.Chunk) { c.Progress.ID[0]++ })},
		"too many tokens": {"more tokens", 10, func(s *script) { s.tokens = 12 }},
		"foreign signature": {"signature", 0, func(s *script) {
			s.bend.chunk = func(_ int, c *core.Chunk) {
				k, _ := newThief()
				c.Progress.Signature, _ = k.Sign(c.Progress.Digest(testChain))
			}
		}},
		"total":             {"asks 110", 10, done(func(d *core.Done) { d.Due = core.NewAmount(110) })},
		"usage":             {"usage", 10, done(func(d *core.Done) { d.Usage.Output++ })},
		"fake cancellation": {"cancelled", 10, done(func(d *core.Done) { d.Finish, d.Receipt.Finish = core.FinishCancelled, core.FinishCancelled })},
		"reason":            {"unknown reason", 10, done(func(d *core.Done) { d.Finish = "content_filter" })},
		"receipt output":    {"output hash", 10, done(func(d *core.Done) { d.Receipt.OutputHash[0]++ })},
		"receipt seed":      {"seed", 10, done(func(d *core.Done) { d.Receipt.Seed[0]++ })},
		"receipt model":     {"model", 10, done(func(d *core.Done) { d.Receipt.Model[0]++ })},
		"receipt price":     {"output price", 10, done(func(d *core.Done) { d.Receipt.PriceOut = core.NewAmount(11) })},
		"receipt expiry":    {"expiry", 10, done(func(d *core.Done) { d.Receipt.Expiry -= 3600 })},
		"receipt signature": {"signature", 10, done(func(d *core.Done) { d.Receipt.Signature[0] = 1 })},
		"leaves":            {"leaves", 10, done(func(d *core.Done) { d.Boundaries[3][3]++ })},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, h := stage(t)
			c.bend(s)
			x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
			var tokens []core.Token
			if err == nil {
				tokens, _, err = drain(t, x)
				x.Close()
			}
			e := wantCode(t, err, core.CodeProvider)
			if !strings.Contains(e.Message, c.says) || !strings.Contains(e.Message, "Delos") {
				t.Errorf("%q does not say %q", e.Message, c.says)
			}
			if len(tokens) != c.tokens || e.Charge.Cmp(core.NewAmount(10*uint64(c.tokens))) != 0 {
				t.Errorf("%d tokens passed, charge %v; want %d", len(tokens), e.Charge, c.tokens)
			}
		})
	}
}

func TestCancelEndsWithDone(t *testing.T) {
	s, p, h := stage(t)
	s.pause = 30 * time.Millisecond
	x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // Accepted and one chunk
		if _, err := x.Recv(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Cancel(); err != nil {
		t.Fatal(err)
	}
	_, done, err := drain(t, x)
	if err != nil || done == nil || done.Finish != core.FinishCancelled {
		t.Fatal(done, err)
	}
	x.Close()
}

func TestProviderSeesThatTheConsumerIsGone(t *testing.T) {
	s, p, h := stage(t)
	s.pause, s.tokens = 50*time.Millisecond, 1000
	r := order(p)
	r.Sampler.MaxTokens = 1000
	x, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	x.Close()
	select {
	case err := <-s.ended:
		if err == nil || time.Since(begin) > time.Second {
			t.Fatalf("ended with %v after %v", err, time.Since(begin))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the provider goes on for nobody")
	}
}

func TestImpostorIsNotReached(t *testing.T) {
	_, p, h := stage(t)
	other := newHost(t, nil)
	p.PeerID = other.PeerID() // registered key, somebody else's address
	_, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	e := wantCode(t, err, core.CodeProvider)
	if !strings.Contains(e.Message, "cannot be reached") {
		t.Fatal(e)
	}
}

func TestUnreachableProviderFailsFast(t *testing.T) {
	s, p, h := stage(t)
	_ = s
	for _, addrs := range [][]string{nil, {"/ip4/127.0.0.1/tcp/1"}, {"rubbish"}} {
		q := p
		q.PeerID, _ = PeerID(ed25519.PublicKey(make([]byte, 32)))
		q.Addrs = addrs
		begin := time.Now()
		_, err := h.Client(verifyProof).Infer(t.Context(), q, order(p), testNonce)
		wantCode(t, err, core.CodeProvider)
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%v: %v", addrs, d)
		}
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	time.Sleep(50 * time.Millisecond)
	before := runtime.NumGoroutine()
	func() {
		s, p, h := stage(t)
		s.pause, s.tokens = time.Millisecond, 1000
		r := order(p)
		r.Sampler.MaxTokens = 1000
		for range 10 {
			if _, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce); err != nil {
				t.Fatal(err)
			}
		}
		h.Close() // with ten exchanges open
		if err := <-s.ended; err == nil {
			t.Fatal("a handler ended as if all were well")
		}
		closeServer(t, p)
	}()
	var after int
	for range 100 {
		if after = runtime.NumGoroutine(); after <= before+2 {
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Fatalf("%d goroutines before, %d after\n%s", before, after, buf[:runtime.Stack(buf, true)])
}
