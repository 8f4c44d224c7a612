package apikey

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
)

func open(t testing.TB, path string, now *time.Time) *Book {
	t.Helper()
	o := Options{noSync: true}
	if now != nil {
		o.Now = func() time.Time { return *now }
	}
	b, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func akoin(n uint64) core.Amount { return core.NewAmount(n) }

func TestLifeOfAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	now := time.Date(2026, 5, 4, 23, 0, 0, 0, time.UTC)
	b := open(t, path, &now)
	if b.Used() {
		t.Error("a new book is used")
	}
	secret, k, err := b.Create(Terms{Name: "app", Budget: akoin(100), PerDay: akoin(40), Models: []string{"toy"}, Expires: now.Add(72 * time.Hour).Unix()})
	if err != nil || !strings.HasPrefix(secret, Prefix) {
		t.Fatal(secret, err)
	}
	if raw, err := os.ReadFile(path); err != nil || strings.Contains(string(raw), secret[len(Prefix):]) {
		t.Error("the secret is on disk", err)
	}
	c, err := b.Admit(secret)
	if err != nil || !c.Allows("toy") || c.Allows("other") {
		t.Fatal(err)
	}
	h, err := c.Hold("toy", akoin(40))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hold("toy", akoin(1)); core.CodeOf(err) != core.CodeUnpaid || !strings.Contains(err.Error(), "of this day") {
		t.Errorf("more than the day's budget is held: %v", err)
	}
	if err := h.Spend(akoin(30)); err != nil {
		t.Fatal(err)
	}
	if err := h.Spend(akoin(11)); core.CodeOf(err) != core.CodeUnpaid {
		t.Errorf("more was spent than held: %v", err)
	}
	h.Release()
	h.Release() // twice changes nothing
	c.Count("toy", core.Usage{Input: 5, Output: 7})
	now = now.Add(2 * time.Hour) // the next day
	h, err = c.Hold("toy", akoin(40))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Spend(akoin(40)); err != nil {
		t.Fatal(err)
	}
	h.Release()
	now = now.Add(24 * time.Hour)
	if _, err := c.Hold("toy", akoin(31)); core.CodeOf(err) != core.CodeUnpaid || strings.Contains(err.Error(), "of this day") {
		t.Errorf("more than the budget is held: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	b = open(t, path, &now)
	defer b.Close()
	s, err := b.Statement("app")
	if err != nil || s.Spent.String() != "70" || !s.Today.IsZero() || !s.Held.IsZero() || len(s.Lines) != 2 || s.Lines[0].Requests != 1 || s.Lines[0].Output != 7 || s.Lines[0].Cost.String() != "30" || s.Lines[1].Day != "2026-05-05" {
		t.Fatalf("%+v %v", s, err)
	}
	if c, err = b.Admit(secret); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Revoke(k.ID); err != nil || core.CodeOf(c.Valid()) != core.CodeUnauthorized {
		t.Error(err, c.Valid())
	}
	if _, err := b.Admit(secret); core.CodeOf(err) != core.CodeUnauthorized || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
	if !b.Used() {
		t.Error("a revoked key makes the gateway open again")
	}
	if _, err := b.Admit("koinon_nonsense"); core.CodeOf(err) != core.CodeUnauthorized {
		t.Error(err)
	}
	short, _, err := b.Create(Terms{Expires: now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if _, err := b.Admit(short); core.CodeOf(err) != core.CodeUnauthorized || !strings.Contains(err.Error(), "expired") {
		t.Error(err)
	}
	for _, bad := range []Terms{{Name: strings.Repeat("x", 101)}, {Name: "a\nb"}, {Models: []string{""}}, {Expires: 5}, {Expires: -5}} {
		if _, _, err := b.Create(bad); core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := b.Revoke("nobody"); core.CodeOf(err) != core.CodeNotFound {
		t.Error(err)
	}
}

// Whatever is asked at once, and whenever the day changes or the book is closed
// and opened: no bound is ever passed, and nothing that was spent is forgotten.
func TestConcurrentSpendingStaysInBudget(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, fmt.Sprint(rand.Uint64()))
		var mu sync.Mutex
		now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
		o := Options{noSync: true, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}
		b, err := Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		budget, daily := rapid.Uint64Range(1, 500).Draw(t, "budget"), rapid.Uint64Range(1, 300).Draw(t, "daily")
		secret, k, err := b.Create(Terms{Budget: akoin(budget), PerDay: akoin(daily)})
		if err != nil {
			t.Fatal(err)
		}
		total := core.Amount{}
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			c, err := b.Admit(secret)
			if err != nil {
				t.Fatal(err)
			}
			needs := rapid.SliceOfN(rapid.Uint64Range(1, 120), 1, 12).Draw(t, "needs")
			var group sync.WaitGroup
			for i, need := range needs {
				group.Go(func() {
					h, err := c.Hold(fmt.Sprintf("m%d", i%3), akoin(need))
					if err != nil {
						return
					}
					defer h.Release()
					for left := need; left > 0; {
						part := min(left, 1+need/3)
						if err := h.Spend(akoin(part)); err != nil {
							t.Errorf("held money cannot be spent: %v", err)
							return
						}
						mu.Lock()
						total = total.Add(akoin(part))
						mu.Unlock()
						if left -= part; need%5 == 0 {
							return // broken off
						}
					}
				})
			}
			if rapid.Bool().Draw(t, "midnight") {
				mu.Lock()
				now = now.Add(24 * time.Hour)
				mu.Unlock()
			}
			group.Wait()
			if rapid.Bool().Draw(t, "restart") {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				if b, err = Open(path, o); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, err := b.Statement(k.ID)
		if err != nil || s.Spent.Cmp(total) != 0 || !s.Held.IsZero() || s.Spent.Cmp(akoin(budget)) > 0 {
			t.Fatalf("spent %s of %d, counted %s, held %s, %v", s.Spent, budget, total, s.Held, err)
		}
		days := map[string]core.Amount{}
		for _, l := range s.Lines {
			days[l.Day] = days[l.Day].Add(l.Cost)
		}
		for day, sum := range days {
			if sum.Cmp(akoin(daily)) > 0 {
				t.Fatalf("%s spent on %s, a day has %d", sum, day, daily)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A process that is killed at any moment forgets nothing that it had spent.
func TestKilledWhileSpending(t *testing.T) {
	path := os.Getenv("APIKEY_TEST_BOOK")
	if path != "" { // the process to kill
		b, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.Admit(os.Getenv("APIKEY_TEST_SECRET"))
		if err != nil {
			t.Fatal(err)
		}
		for {
			h, err := c.Hold("toy", akoin(3))
			if err != nil || h.Spend(akoin(1)) != nil {
				os.Exit(1)
			}
			fmt.Println("spent")
			h.Release()
		}
	}
	path = filepath.Join(t.TempDir(), "keys.db")
	b := open(t, path, nil)
	secret, k, err := b.Create(Terms{Budget: akoin(1 << 40)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledWhileSpending$")
	cmd.Env = append(os.Environ(), "APIKEY_TEST_BOOK="+path, "APIKEY_TEST_SECRET="+secret)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, 6*20)
	n := 0
	for n < len(seen) {
		m, err := out.Read(seen[n:])
		if n += m; err != nil {
			break
		}
	}
	_ = cmd.Process.Kill()
	rest := make([]byte, 1<<16)
	for {
		m, err := out.Read(rest)
		if n += m; err != nil {
			break
		}
	}
	_ = cmd.Wait()
	b = open(t, path, nil)
	defer b.Close()
	s, err := b.Statement(k.ID)
	told := uint64(n / 6)
	if err != nil || told < 20 || s.Spent.Cmp(akoin(told)) < 0 || s.Spent.Cmp(akoin(told+1)) > 0 || !s.Held.IsZero() {
		t.Errorf("told of %d, the book says %s, held %s, %v", told, s.Spent, s.Held, err)
	}
}

// The owner's command line and a running gateway share one book.
func TestManagingARunningBook(t *testing.T) {
	dir, err := os.MkdirTemp("", "keys") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b := open(t, filepath.Join(dir, "keys.db"), nil)
	defer b.Close()
	socket := filepath.Join(dir, "s")
	if _, ok := Dial(socket); ok {
		t.Fatal("nobody listens yet")
	}
	server, err := Serve(socket, b)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if i, err := os.Stat(socket); err != nil || i.Mode().Perm() != 0o600 {
		t.Error(i, err)
	}
	var o Owner
	o, ok := Dial(socket)
	if !ok {
		t.Fatal("the book does not answer")
	}
	defer o.Close()
	secret, k, err := o.Create(Terms{Name: "a/b", Budget: akoin(5)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Admit(secret); err != nil {
		t.Error(err)
	}
	if l, err := o.List(); err != nil || len(l) != 1 || l[0].ID != k.ID || l[0].Budget.String() != "5" {
		t.Error(l, err)
	}
	if s, err := o.Statement("a/b"); err != nil || s.ID != k.ID {
		t.Error(s, err)
	}
	if _, err := o.Revoke("nobody"); core.CodeOf(err) != core.CodeNotFound {
		t.Error(err)
	}
	if k, err := o.Revoke(k.ID); err != nil || k.Revoked == 0 {
		t.Error(k, err)
	}
	if _, err := b.Admit(secret); err == nil {
		t.Error("a revoked key is admitted")
	}
}
