package p2p

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/voucher"
)

const testChain = 564666

var testNonce = core.Hash{9, 9, 9}

// script is a provider that answers by the book with tokens 1, 2, 3, ... except
// where a test makes it lie.
type script struct {
	key    *voucher.Key
	peer   ed25519.PrivateKey
	tokens int           // to send
	pause  time.Duration // between chunks of two
	refuse error         // instead of accepting

	vector []float32 // of an embedding; {0.6, -0.8} without

	bend struct {
		proof func(p []byte)
		chunk func(n int, c *core.Chunk)
		done  func(d *core.Done)
	}
	paid  chan core.Voucher
	ended chan error
}

// prove stands in for the VRF: a deterministic signature and its hash.
func prove(key ed25519.PrivateKey, m []byte) (proof, output []byte) {
	proof = ed25519.Sign(key, m)
	o := sha512.Sum512(proof)
	return proof, o[:]
}

func verifyProof(key, m, proof []byte) ([]byte, error) {
	if !ed25519.Verify(key, m, proof) {
		return nil, errors.New("it does not verify")
	}
	o := sha512.Sum512(proof)
	return o[:], nil
}

func (x *script) Infer(ctx context.Context, _ string, r core.SignedRequest, s ServerStream) (err error) {
	defer func() {
		select {
		case x.ended <- err:
		default:
		}
	}()
	if x.refuse != nil {
		return x.refuse
	}
	proof, output := prove(x.peer, r.VRFInput())
	if x.bend.proof != nil {
		x.bend.proof(proof)
	}
	nonce, err := s.Accept(ctx, core.Accepted{Proof: proof})
	if err != nil {
		return err
	}
	go func() {
		for v := range s.Vouchers() {
			x.paid <- v
		}
	}()
	if r.Pooling != "" {
		return s.Finish(ctx, x.end(r, nonce, output, nil, core.FinishStop))
	}
	var out []core.Token
	finish := core.FinishLength
	for n := 0; len(out) < x.tokens; n++ {
		select {
		case <-s.Cancelled():
			finish = core.FinishCancelled
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(x.pause):
		}
		if finish == core.FinishCancelled {
			break
		}
		out = append(out, core.Token(len(out)+1), core.Token(len(out)+2))
		c := core.Chunk{Tokens: out[len(out)-2:], Due: r.PriceOut.Mul(uint64(len(out)))}
		if r.Sampler.Logprobs > 0 {
			c.Logprobs = probsOf(c.Tokens)
		}
		c.Progress = core.Progress{ID: r.ID, Provider: r.Provider, Count: uint32(len(out)), Tokens: core.TokenChain(core.Hash{}, out)}
		x.sign(r.ChainID, &c.Progress)
		if x.bend.chunk != nil {
			x.bend.chunk(n, &c)
		}
		if err := s.Send(ctx, c); err != nil {
			return err
		}
	}
	return s.Finish(ctx, x.end(r, nonce, output, out, finish))
}

// probsOf are log-probabilities of each token and of two beside it.
func probsOf(tokens []core.Token) (ls []core.TokenLogprobs) {
	for _, t := range tokens {
		ls = append(ls, core.TokenLogprobs{{Token: t, Value: -2_000_000}, {Token: 107, Value: -500_000}, {Token: 108, Value: -2_000_000}})
	}
	return ls
}

func (x *script) sign(chain uint64, g *core.Progress) { g.Signature, _ = x.key.Sign(g.Digest(chain)) }

func (x *script) end(r core.SignedRequest, nonce core.Hash, vrf []byte, out []core.Token, finish core.FinishReason) core.Done {
	leaves := make([]core.Hash, 2*max(0, len(r.Input)+len(out)-1))
	u := core.Usage{Input: r.Prompt, Output: uint32(len(out))}
	now := time.Now().Unix()
	d := core.Done{Finish: finish, Usage: u, Due: u.Cost(r.PriceIn, r.PriceOut), Boundaries: leaves}
	d.Receipt.Receipt = core.Receipt{
		ChainID: r.ChainID, Semantics: r.Semantics, Model: r.Model, Request: r.ID, RequestHash: r.Digest(), Provider: r.Provider,
		Channel: r.Channel, InputHash: core.HashTokens(r.Input), OutputHash: core.HashTokens(out), Sampler: r.Sampler.Digest(),
		Seed: r.DeriveSeed(nonce, vrf).Commitment(), Input: uint32(len(r.Input)), Output: u.Output, Billed: r.Prompt, Finish: finish,
		BoundaryRoot: merkle.Root(leaves), PriceIn: r.PriceIn, PriceOut: r.PriceOut, Issued: now, Expiry: now + 86400,
	}
	if r.Sampler.Logprobs > 0 {
		d.Receipt.Logprobs = core.HashLogprobs(probsOf(out))
	}
	if r.Pooling != "" {
		v := x.vector
		if v == nil {
			v = []float32{0.6, -0.8}
		}
		d.Embedding, d.Boundaries = core.EncodeVector(v), nil
		d.Receipt.OutputHash, d.Receipt.BoundaryRoot = core.HashEmbedding(d.Embedding), core.Hash{}
	}
	if x.bend.done != nil {
		x.bend.done(&d)
	}
	if d.Receipt.Signature == (core.Signature{}) {
		d.Receipt.Signature, _ = x.key.Sign(d.Receipt.Digest())
	}
	return d
}

func newKey(t testing.TB) *voucher.Key {
	k, err := voucher.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newHost opens a host on loopback with short patience.
func newHost(t testing.TB, change func(*Config)) *Host {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Heartbeat: 100 * time.Millisecond, Silence: 800 * time.Millisecond,
		Admission: 3 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// servers are the hosts that stage opened, by peer id.
var servers = map[string]*Host{}

func closeServer(t testing.TB, p core.Provider) {
	if err := servers[p.PeerID].Close(); err != nil {
		t.Error(err)
	}
}

// stage is a scripted provider, its registration, and a consumer's host.
func stage(t testing.TB) (*script, core.Provider, *Host) {
	server := newHost(t, nil)
	x := &script{key: newKey(t), peer: server.cfg.Key, tokens: 10, paid: make(chan core.Voucher, 100), ended: make(chan error, 1)}
	server.Serve(x)
	servers[server.PeerID()] = server
	p := core.Provider{Address: x.key.Address(), Moniker: "Delos", PeerID: server.PeerID(), Addrs: server.Addrs()}
	return x, p, newHost(t, func(c *Config) { c.Listen = nil })
}

func order(p core.Provider) core.SignedRequest {
	return core.SignedRequest{Request: core.Request{
		ChainID: testChain, ID: core.RequestID{1}, Model: core.ModelID{2}, Semantics: 1, Provider: p.Address, Channel: core.ChannelID{3},
		Input: []core.Token{5, 6, 7}, Prompt: 3, Sampler: core.Sampler{MaxTokens: 10}, NonceCommit: sha256.Sum256(testNonce[:]),
		PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(10), Expiry: time.Now().Unix() + 60,
	}}
}

// drain receives until an error, which it returns with the tokens before it.
func drain(t testing.TB, x core.Exchange) (tokens []core.Token, done *core.Done, err error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for {
		ev, err := x.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return tokens, done, nil
		}
		if err != nil {
			return tokens, done, err
		}
		switch ev := ev.(type) {
		case *core.Chunk:
			tokens = append(tokens, ev.Tokens...)
		case *core.Done:
			done = ev
		}
	}
}

func newThief() (*voucher.Key, error) { return voucher.GenerateKey() }
