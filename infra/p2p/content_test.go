package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

func TestBlobs(t *testing.T) {
	server, h := newHost(t, nil), newHost(t, nil)
	blob := []byte(strings.Repeat("header ", 500_000))
	hash := core.Hash(sha256.Sum256(blob))
	server.ServeBlobs(func(_ context.Context, q core.Hash) ([]byte, error) {
		switch q {
		case hash:
			return blob, nil
		case core.Hash{1}:
			return []byte("forged"), nil
		}
		return nil, errors.New("not here")
	})
	p := core.Provider{Moniker: "Delos", PeerID: server.PeerID(), Addrs: server.Addrs()}
	if b, err := h.FetchBlob(t.Context(), p, hash, 8<<20); err != nil || len(b) != len(blob) {
		t.Fatal(len(b), err)
	}
	_, err := h.FetchBlob(t.Context(), p, hash, 1000)
	wantCode(t, err, core.CodeTooLarge)
	_, err = h.FetchBlob(t.Context(), p, core.Hash{1}, 1000)
	if e := wantCode(t, err, core.CodeProvider); !strings.Contains(e.Message, "hash") {
		t.Error(e)
	}
	_, err = h.FetchBlob(t.Context(), p, core.Hash{2}, 1000)
	wantCode(t, err, core.CodeInvalid)
}

func TestEvidenceOnlyForItsConsumer(t *testing.T) {
	server, h := newHost(t, nil), newHost(t, nil)
	provider, consumer := newKey(t), newKey(t)
	e := core.Evidence{Version: 1, Output: []core.Token{1, 2}, Request: order(core.Provider{Address: provider.Address()})}
	e.Request.Signature, _ = consumer.Sign(e.Request.Digest())
	id := e.Receipt.Digest()
	server.ServeEvidence(provider.Address(), func(_ context.Context, q core.ReceiptID) (core.Evidence, error) {
		if q != id {
			return core.Evidence{}, errors.New("none")
		}
		return e, nil
	})
	p := core.Provider{Address: provider.Address(), PeerID: server.PeerID(), Addrs: server.Addrs()}
	got, err := h.FetchEvidence(t.Context(), p, id, consumer)
	if err != nil || len(got.Output) != 2 {
		t.Fatal(got, err)
	}
	_, err = h.FetchEvidence(t.Context(), p, id, newKey(t))
	stranger := wantCode(t, err, core.CodeUnauthorized)
	_, err = h.FetchEvidence(t.Context(), p, core.Hash{9}, newKey(t))
	if unknown := wantCode(t, err, core.CodeUnauthorized); stranger.Message[:10] != unknown.Message[:10] {
		t.Error("a stranger can tell which receipts exist")
	}
	// A query from long ago, though well signed, is a replay.
	old := evidenceQuery{Receipt: id, Time: time.Now().Add(-time.Hour).Unix()}
	old.Signature, _ = consumer.Sign(old.digest(provider.Address()))
	_, err = h.ask(t.Context(), p, ProtocolEvidence, old, MaxEvidence)
	wantCode(t, err, core.CodeUnauthorized)
}
