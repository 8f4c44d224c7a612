package p2p

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

func FuzzReadFrame(f *testing.F) {
	for _, body := range []any{nil, nonceBody{testNonce}, core.Voucher{}, core.Done{}} {
		for typ := range frameLimits {
			if b, err := encodeFrame(typ, body); err == nil {
				f.Add(b)
			}
		}
	}
	f.Add([]byte{255, 255, 255, 255, 1, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		reserved := 0
		fr, err := readFrame(bytes.NewReader(b), func(n int) error { reserved = n; return nil },
			frameRequest, frameAccepted, frameError, frameNonce, frameChunk, frameVoucher, frameCancel, frameDone, frameAlive, frameQuery, frameHeader)
		if err != nil {
			return
		}
		if len(fr.body) > frameLimits[fr.typ] || len(fr.body)+frameHead > len(b) {
			t.Fatalf("%v of %d bytes from %d", fr.typ, len(fr.body), len(b))
		}
		if len(fr.body) >= largeFrame && reserved < len(fr.body) {
			t.Fatalf("%d bytes read, %d reserved", len(fr.body), reserved)
		}
		// Whatever decodes must be safe to look at.
		var r core.SignedRequest
		if fr.decode(&r) == nil {
			r.Digest()
		}
		var c core.Chunk
		if fr.decode(&c) == nil {
			x := newPromise(core.Provider{}, core.SignedRequest{Request: core.Request{Sampler: core.Sampler{MaxTokens: 9}}})
			if x.chunk(&c) == nil {
				t.Fatal("an unsigned chunk passed")
			}
		}
		var d core.Done
		if fr.decode(&d) == nil {
			newPromise(core.Provider{}, core.SignedRequest{}).done(&d)
		}
	})
}

func TestLyingLengthsCostNoMemory(t *testing.T) {
	head := binary.BigEndian.AppendUint32(nil, 4<<20)
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := readFrame(bytes.NewReader(append(head, byte(frameRequest), '{')), nil, frameRequest); !errors.Is(err, io.ErrUnexpectedEOF) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 64<<10 {
		t.Fatalf("%d bytes for a frame of 2", allocated)
	}
}

// A stranger's bytes end its own stream and nothing else.
func TestHostileBytesOnTheInferProtocol(t *testing.T) {
	s, p, h := stage(t)
	s.pause, s.tokens = 50*time.Millisecond, 10
	big := func(typ frameType, n uint32) []byte { return append(binary.BigEndian.AppendUint32(nil, n), byte(typ)) }
	good, err := encodeFrame(frameRequest, order(p))
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := encodeFrame(frameNonce, nonceBody{testNonce})
	cancel, _ := encodeFrame(frameCancel, nil)
	for name, b := range map[string][]byte{
		"huge":              big(frameRequest, 1<<32-1),
		"over the limit":    big(frameRequest, 4<<20+2),
		"empty":             big(frameRequest, 0),
		"unknown":           big(200, 1),
		"wrong direction":   big(frameDone, 1),
		"no JSON":           append(big(frameRequest, 4), "{{{"...),
		"deep":              append(big(frameRequest, 100_001), strings.Repeat("[", 100_000)...),
		"wrong types":       append(big(frameRequest, 14), `{"input":"no"}`[:13]...),
		"negative":          append(big(frameRequest, 14), `{"prompt":-1 }`[:13]...),
		"second nonce":      bytes.Join([][]byte{good, nonce, nonce}, nil),
		"second request":    append(bytes.Clone(good), good...),
		"flood":             append(bytes.Clone(good), bytes.Repeat(cancel, 2000)...),
		"request then junk": append(bytes.Clone(good), bytes.Repeat([]byte{7}, 1000)...),
	} {
		w, err := h.dial(t.Context(), p, ProtocolInfer)
		if err != nil {
			t.Fatal(name, err)
		}
		w.s.SetDeadline(time.Now().Add(3 * time.Second))
		w.rw.Write(b)
		if _, err := io.Copy(io.Discard, w.rw); timedOut(err) {
			t.Errorf("%s: the stream stays open", name)
		}
		w.abort(resetGone)
	}
	s.pause = 0
	x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if err != nil {
		t.Fatal("an honest request afterwards:", err)
	}
	if tokens, _, err := drain(t, x); err != nil || len(tokens) != 10 {
		t.Fatal(tokens, err)
	}
	x.Close()
}

func TestOnePeerCannotTakeAllStreams(t *testing.T) {
	server := newHost(t, func(c *Config) { c.PeerStreams = 3 })
	s := &script{key: newKey(t), peer: server.cfg.Key, tokens: 1000, pause: 20 * time.Millisecond, paid: make(chan core.Voucher, 9), ended: make(chan error, 9)}
	server.Serve(s)
	p := core.Provider{Address: s.key.Address(), PeerID: server.PeerID(), Addrs: server.Addrs()}
	ask := func(h *Host) error {
		r := order(p)
		r.Sampler.MaxTokens = 1000
		_, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce)
		return err
	}
	greedy, modest := newHost(t, nil), newHost(t, nil)
	for range 3 {
		if err := ask(greedy); err != nil {
			t.Fatal(err)
		}
	}
	if e := wantCode(t, ask(greedy), core.CodeBusy); e.RetryAfter == 0 {
		t.Error("no time to retry after")
	}
	if err := ask(modest); err != nil {
		t.Error("another peer is kept out:", err)
	}
}

func TestRateOfOnePeerIsBounded(t *testing.T) {
	d := newDoors(Config{PeerStreams: 1000, PeerRate: 10})
	in := 0
	for range 100 {
		if d.enter("a") {
			in++
		}
	}
	if in != 20 || !d.enter("b") {
		t.Fatalf("%d streams at once at 10 a second", in)
	}
}

// TestMain lets the test binary also be a provider in a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("KOINON_TEST_PROVIDER") == "" {
		os.Exit(m.Run())
	}
	var t childT
	h := newHost(&t, func(c *Config) { c.Silence = time.Minute })
	s := &script{key: newKey(&t), peer: h.cfg.Key, tokens: 1 << 20, pause: 10 * time.Millisecond, paid: make(chan core.Voucher, 1000), ended: make(chan error, 9)}
	h.Serve(s)
	os.Stdout.WriteString(s.key.Address().String() + " " + h.PeerID() + " " + h.Addrs()[0] + "\n")
	select {}
}

// childT lets helpers run outside a test.
type childT struct{ testing.TB }

func (childT) Helper()           {}
func (childT) Cleanup(func())    {}
func (childT) Fatal(args ...any) { panic(args) }

// A killed provider is noticed at once, a frozen one after Silence.
func TestDeadAndFrozenProviders(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		within time.Duration
		says   string
	}{
		{syscall.SIGKILL, 500 * time.Millisecond, "lost the connection"},
		{syscall.SIGSTOP, 1500 * time.Millisecond, "sent nothing for"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "KOINON_TEST_PROVIDER=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		line := make([]byte, 500)
		n, err := out.Read(line)
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(line[:n]))
		addr, _ := core.ParseAddress(f[0])
		p := core.Provider{Address: addr, Moniker: "Delos", PeerID: f[1], Addrs: f[2:]}
		h := newHost(t, nil)
		r := order(p)
		r.Sampler.MaxTokens = 1 << 20
		x, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := x.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		cmd.Process.Signal(c.signal)
		_, _, err = drain(t, x)
		d := time.Since(begin)
		e := wantCode(t, err, core.CodeProvider)
		if d > c.within || e.Charge.IsZero() || !strings.Contains(e.Message, c.says) {
			t.Errorf("%v: noticed after %v: %v, charge %v", c.signal, d, e, e.Charge)
		}
		t.Logf("%v noticed after %v", c.signal, d)
		x.Close()
	}
}

func TestLiveProviderWithoutProgressIsGivenUp(t *testing.T) {
	s, p, _ := stage(t)
	h := newHost(t, func(c *Config) { c.Stall = 400 * time.Millisecond })
	s.pause = 5 * time.Second
	x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, _, err = drain(t, x)
	if e := wantCode(t, err, core.CodeProvider); !strings.Contains(e.Message, "no progress") || time.Since(begin) > 2*time.Second {
		t.Fatalf("after %v: %v", time.Since(begin), e)
	}
	x.Close()
}

// A panic in a handler costs one request.
func TestPanicIsContained(t *testing.T) {
	server, h := newHost(t, nil), newHost(t, nil)
	server.Serve(handlerFunc(func(context.Context, string, core.SignedRequest, ServerStream) error { panic("bug") }))
	p := core.Provider{PeerID: server.PeerID(), Addrs: server.Addrs()}
	_, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	wantCode(t, err, core.CodeProvider)
}

type handlerFunc func(context.Context, string, core.SignedRequest, ServerStream) error

func (f handlerFunc) Infer(ctx context.Context, p string, r core.SignedRequest, s ServerStream) error {
	return f(ctx, p, r, s)
}
