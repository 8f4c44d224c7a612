package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/voucher"
)

// registry is x/verify's rule for batches, in memory: sequences have no gap and
// no repetition.
type registry struct {
	core.Wallet // everything else is not used
	*voucher.Key
	mu      sync.Mutex
	batches []core.ReceiptBatch
	before  error // fails before the transaction is applied
	after   error // fails although it was
}

func (r *registry) Address() core.Address { return r.Key.Address() }

func (r *registry) Sign(h core.Hash) (core.Signature, error) { return r.Key.Sign(h) }

func (r *registry) CommitReceipts(_ context.Context, b core.ReceiptBatch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before != nil {
		return r.before
	}
	if b.Sequence != uint64(len(r.batches))+1 || b.Count == 0 || b.Provider != r.Address() {
		return errors.New("bad sequence")
	}
	r.batches = append(r.batches, b)
	return r.after
}

// batchChain shows the registry as a chain.
type batchChain struct {
	core.Chain
	r *registry
}

func (c batchChain) Batches(_ context.Context, _ core.Address, limit int) (out []core.ReceiptBatch, err error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	for i := len(c.r.batches) - 1; i >= 0 && len(out) < limit; i-- {
		out = append(out, c.r.batches[i])
	}
	return out, nil
}

func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "koinon-verify")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openNotary(t testing.TB, path string, r *registry, o NotaryOptions) *Notary {
	t.Helper()
	o.Interval, o.noSync = -1, true
	n, err := OpenNotary(context.Background(), path, r, batchChain{r: r}, o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newRegistry(t testing.TB) *registry { return &registry{Key: testKey(t, 0x22)} }

// numbered is evidence number i; all differ.
func numbered(t testing.TB, base core.Evidence, i uint64) core.Evidence {
	binary.BigEndian.PutUint64(base.Receipt.Request[:], i)
	base.Request.ID = base.Receipt.Request
	base.Receipt.Signature = core.Signature{}
	return base
}

func TestSealStoresWhatItSigns(t *testing.T) {
	r, path := newRegistry(t), filepath.Join(scratch(t), "receipts.db")
	n := openNotary(t, path, r, NotaryOptions{ArchiveOptions: ArchiveOptions{Boundaries: true}})
	ev := sampleEvidence(t)
	want := ev.Receipt.Signature
	ev.Receipt.Signature = core.Signature{}
	ev.Request.Voucher = &core.Voucher{}
	signed, err := n.Seal(context.Background(), ev)
	if err != nil || signed.Signature != want {
		t.Fatalf("sealed %+v, %v", signed, err)
	}
	if again, err := n.Seal(context.Background(), ev); err != nil || again != signed {
		t.Errorf("the same receipt again: %v", err)
	}
	n.Close()
	n = openNotary(t, path, r, NotaryOptions{})
	defer n.Close()
	for _, id := range []core.Hash{signed.Digest(), signed.Request} {
		got, err := n.Get(id)
		if err != nil || verdict(t, got).Verdict != Matches || len(got.Boundaries) != len(ev.Boundaries) || got.Request.Voucher != nil {
			t.Fatalf("evidence by %s: %v, %d leaves", id.Short(), err, len(got.Boundaries))
		}
	}
	if _, err := n.Get(core.Hash{0xee}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown id: %v", err)
	}
	ev.Receipt.Issued++
	if _, err := n.Seal(context.Background(), ev); err == nil {
		t.Error("a second receipt for the same request was signed")
	}
	ev.Receipt.Provider[0] ^= 1
	if _, err := n.Seal(context.Background(), ev); err == nil {
		t.Error("a stranger's receipt was signed")
	}
}

func TestConcurrentSealsOfOneRequestSignOnce(t *testing.T) {
	n := openNotary(t, filepath.Join(scratch(t), "r.db"), newRegistry(t), NotaryOptions{})
	defer n.Close()
	base := sampleEvidence(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sealed := 0
	for i := range 16 {
		wg.Go(func() {
			ev := base
			ev.Receipt.Issued += int64(i)
			if _, err := n.Seal(context.Background(), ev); err == nil {
				mu.Lock()
				sealed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if sealed != 1 {
		t.Fatalf("%d receipts for one request", sealed)
	}
}

func TestBatchHoldsEveryReceipt(t *testing.T) {
	r := newRegistry(t)
	n := openNotary(t, filepath.Join(scratch(t), "r.db"), r, NotaryOptions{MaxBatch: 4})
	defer n.Close()
	base := sampleEvidence(t)
	var ids []core.ReceiptID
	for i := range uint64(7) {
		s, err := n.Seal(context.Background(), numbered(t, base, i))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.Digest())
	}
	if _, _, err := n.Inclusion(ids[0]); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("before the batch: %v", err)
	}
	for _, want := range []int{4, 3, 0} {
		if got, err := n.Commit(context.Background()); err != nil || got != want {
			t.Fatalf("committed %d, %v; want %d", got, err, want)
		}
	}
	for i, id := range ids {
		b, p, err := n.Inclusion(id)
		if err != nil || b != r.batches[i/4] || !merkle.Verify(b.Root, id, p) {
			t.Errorf("receipt %d: batch %+v, %v", i, b, err)
		}
	}
	list, err := n.List(1, 2)
	if err != nil || len(list) != 2 || list[0].ID != ids[5] || list[1].ID != ids[4] {
		t.Errorf("newest first, one skipped: %+v, %v", list, err)
	}
	if _, _, err := n.Inclusion(core.Hash{1}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown receipt: %v", err)
	}
}

// Whatever fails and whenever the process dies, each receipt ends up in exactly
// one batch on chain.
func TestBatchesAreCommittedOnce(t *testing.T) {
	base, dir, run := sampleEvidence(t), scratch(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		path := filepath.Join(dir, string(rune('a'+run%26)))
		os.Remove(path)
		r := newRegistry(t)
		n := openNotary(t, path, r, NotaryOptions{MaxBatch: 3})
		var ids []core.ReceiptID
		var sealed uint64
		rt.Repeat(map[string]func(*rapid.T){
			"seal": func(rt *rapid.T) {
				s, err := n.Seal(context.Background(), numbered(t, base, sealed))
				if err != nil {
					rt.Fatal(err)
				}
				sealed++
				ids = append(ids, s.Digest())
			},
			"commit": func(rt *rapid.T) {
				lost := errors.New("connection lost")
				switch rapid.IntRange(0, 3).Draw(rt, "fault") {
				case 0:
					r.before = lost
				case 1:
					r.after = lost
				}
				n.Commit(context.Background())
				r.before, r.after = nil, nil
			},
			"kill": func(rt *rapid.T) {
				n.cancel()
				n.Archive.Close()
				n = openNotary(t, path, r, NotaryOptions{MaxBatch: 3})
			},
			"die after preparing": func(rt *rapid.T) {
				if b, err := n.unfinished(); err == nil && b == nil {
					if _, err := n.prepare(context.Background()); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"another batch takes the number": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "rarely") == 0 {
					next := uint64(len(r.batches)) + 1
					r.batches = append(r.batches, core.ReceiptBatch{Provider: r.Address(), Sequence: next, Root: core.Hash{0xff, byte(next)}, Count: 1})
				}
			},
		})
		for range len(ids) + 1 {
			if _, err := n.Commit(context.Background()); err != nil {
				rt.Fatal(err)
			}
		}
		total := uint32(0)
		for _, b := range r.batches {
			if b.Root[0] != 0xff || b.Root[2] != 0 {
				total += b.Count
			}
		}
		if int(total) != len(ids) {
			rt.Fatalf("%d receipts in batches, %d were sealed", total, len(ids))
		}
		for _, id := range ids {
			b, p, err := n.Inclusion(id)
			if err != nil || b != r.batches[b.Sequence-1] || !merkle.Verify(b.Root, id, p) {
				rt.Fatalf("receipt %s: %v", id.Short(), err)
			}
		}
		n.Close()
	})
}

func TestPruneKeepsWhatCanBeChallenged(t *testing.T) {
	now := time.Unix(1_800_000_003, 0)
	r := newRegistry(t)
	o := NotaryOptions{ArchiveOptions: ArchiveOptions{Keep: time.Hour, MaxBytes: 1, Now: func() time.Time { return now }}}
	n := openNotary(t, filepath.Join(scratch(t), "r.db"), r, o)
	defer n.Close()
	base := sampleEvidence(t)
	for i := range uint64(3) {
		if _, err := n.Seal(context.Background(), numbered(t, base, i)); err != nil {
			t.Fatal(err)
		}
	}
	prune := func(want int) {
		t.Helper()
		if got, err := n.Prune(); err != nil || got != want {
			t.Fatalf("pruned %d, %v; want %d", got, err, want)
		}
	}
	prune(0) // all can be challenged
	now = now.Add(24*time.Hour + 30*time.Minute)
	prune(0) // expired, but not on chain yet
	if _, err := n.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	prune(3) // over the size limit
	if list, _ := n.List(0, 10); len(list) != 0 {
		t.Fatalf("%d left", len(list))
	}
	if _, err := n.Get(numbered(t, base, 1).Receipt.Request); !errors.Is(err, ErrUnknown) {
		t.Errorf("a pruned request: %v", err)
	}
	n.Archive.opt.MaxBytes = 1 << 30
	late := numbered(t, base, 9)
	if _, err := n.Seal(context.Background(), late); err != nil {
		t.Fatal(err)
	}
	n.Commit(context.Background())
	prune(0) // within Keep
	now = now.Add(time.Hour)
	prune(1)
}

func TestArchiveKeepsBothReceiptsOfOneRequest(t *testing.T) {
	a, err := OpenArchive(filepath.Join(scratch(t), "a.db"), ArchiveOptions{noSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	first := sampleEvidence(t)
	second := first
	second.Receipt.Issued++
	for _, ev := range []core.Evidence{first, second, first} {
		if err := a.Put(ev); err != nil {
			t.Fatal(err)
		}
	}
	if list, _ := a.List(0, 10); len(list) != 2 {
		t.Fatalf("%d receipts", len(list))
	}
	got, err := a.Get(first.Receipt.Request)
	if err != nil || got.Receipt.Digest() != second.Receipt.Digest() {
		t.Errorf("by request comes the latest: %v", err)
	}
	if len(got.Boundaries) != 0 {
		t.Error("leaves are kept although nobody asked")
	}
}
