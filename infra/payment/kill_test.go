package payment

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

const killDir = "KOINON_PAYMENT_KILL_DIR"

// TestMain lets the test binary play the process that gets killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		signForEver(dir)
	}
	os.Exit(m.Run())
}

// signForEver signs and banks vouchers from several requests at once and says
// so as soon as each call has returned.
func signForEver(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	t := new(testing.T)
	l := newLedger()
	w := &world{t: t, l: l, payer: l.wallet(t, 1, amount(1<<40)), provider: l.wallet(t, 2, amount(0)), dir: dir}
	o := w.purseOptions()
	o.noSync, o.Deposit, o.MaxDeposit = false, amount(1<<30), amount(1<<31)
	ctx := context.Background()
	var err error
	w.purse, err = OpenPurse(ctx, filepath.Join(dir, "purse.db"), w.payer, l, o)
	fail(err)
	w.till, err = OpenTill(ctx, filepath.Join(dir, "till.db"), w.provider, l, TillOptions{Now: l.clock, manual: true})
	fail(err)
	var mu sync.Mutex
	for range 4 {
		c, r, err := w.purse.Channel(ctx, w.provider.Address(), amount(1<<20))
		fail(err)
		go func() {
			for due := uint64(1); ; due++ {
				v, err := w.purse.Pay(ctx, r, amount(due))
				fail(err)
				mu.Lock()
				fmt.Println("signed", c.ID, v.Amount)
				mu.Unlock()
				fail(w.till.Accept(ctx, v))
				mu.Lock()
				fmt.Println("banked", c.ID, v.Amount)
				mu.Unlock()
			}
		}()
	}
	select {}
}

func TestKillMinusNineForgetsNoVoucher(t *testing.T) {
	for round := range 3 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := map[string]core.Amount{}
		var id core.ChannelID
		lines, kill := bufio.NewScanner(out), 40+30*round
		for n := 0; lines.Scan(); n++ {
			var what, channel, number string
			if _, err := fmt.Sscan(lines.Text(), &what, &channel, &number); err != nil {
				continue // cut off by the kill
			}
			a, err := core.ParseAmount(number)
			if err != nil {
				t.Fatal(err)
			}
			id, _ = core.ParseHash(channel)
			said[what] = larger(said[what], a)
			if n == kill {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if said["signed"].IsZero() || said["banked"].IsZero() {
			t.Fatal("the child never paid")
		}
		checkAfterKill(t, dir, id, said)
	}
}

func checkAfterKill(t *testing.T, dir string, id core.ChannelID, said map[string]core.Amount) {
	t.Helper()
	var rec purseRecord
	var book bookRecord
	l := newLedger()
	payer, provider := l.wallet(t, 1, amount(0)).Address(), l.wallet(t, 2, amount(0)).Address()
	read := func(file string, who owner, bucket []byte, into func(*store) error) {
		st, err := openStore(filepath.Join(dir, file), who, false, bucket)
		if err != nil {
			t.Fatal(err)
		}
		defer st.close()
		if err := into(st); err != nil {
			t.Fatal(err)
		}
	}
	read("purse.db", owner{"purse", payer, payer, testChainID}, accountBucket, func(s *store) error {
		return each(s, accountBucket, func(k []byte, r purseRecord) {
			if idHash(k) == id {
				rec = r
			}
		})
	})
	read("till.db", owner{"till", provider, provider, testChainID}, bookBucket, func(s *store) error {
		return each(s, bookBucket, func(k []byte, r bookRecord) {
			if idHash(k) == id {
				book = r
			}
		})
	})
	if rec.Signed.Cmp(said["signed"]) < 0 {
		t.Errorf("the purse remembers %v, it had signed %v", rec.Signed, said["signed"])
	}
	if book.Voucher.Amount.Cmp(said["banked"]) < 0 {
		t.Errorf("the till remembers %v, it had accepted %v", book.Voucher.Amount, said["banked"])
	}
	if book.Voucher.Amount.Cmp(rec.Signed) > 0 {
		t.Errorf("the till holds %v, the purse knows of %v", book.Voucher.Amount, rec.Signed)
	}
}

// BenchmarkStreams is 64 answers at once on one channel, each paying and being
// paid with every step on disk.
func BenchmarkStreams(b *testing.B) {
	l := newLedger()
	w := &world{t: b, l: l, payer: l.wallet(b, 1, amount(1<<60)), provider: l.wallet(b, 2, amount(0)), dir: b.TempDir()}
	o := w.purseOptions()
	o.noSync, o.Deposit, o.MaxDeposit = false, amount(1<<50), amount(1<<51)
	ctx := context.Background()
	var err error
	if w.purse, err = OpenPurse(ctx, filepath.Join(w.dir, "purse.db"), w.payer, l, o); err != nil {
		b.Fatal(err)
	}
	defer w.purse.Close()
	if w.till, err = OpenTill(ctx, filepath.Join(w.dir, "till.db"), w.provider, l, TillOptions{Now: l.clock, manual: true}); err != nil {
		b.Fatal(err)
	}
	defer w.till.Close()
	const streams = 64
	var wg sync.WaitGroup
	b.ResetTimer()
	began := time.Now()
	for s := range streams {
		_, r, err := w.purse.Channel(ctx, w.provider.Address(), amount(1<<32))
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for due := uint64(s); due < uint64(b.N); due += streams {
				v, err := w.purse.Pay(ctx, r, amount(due+1))
				if err == nil {
					err = w.till.Accept(ctx, v)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "vouchers/s")
}
