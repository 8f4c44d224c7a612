package localnet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

const childHome = "KOINON_LOCALNET_CHILD"

func TestMain(m *testing.M) {
	if home := os.Getenv(childHome); home != "" {
		if err := payForEver(home); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func payers() []*wallet { return []*wallet{newWallet(1), newWallet(2), newWallet(3)} }

func killOptions(home string) Options {
	return Options{Home: home, BlockTime: 150 * time.Millisecond, Genesis: credit(core.Koin(1000), payers()...)}
}

// payForEver is the child: it pays akoin by akoin and reports what was final.
func payForEver(home string) error {
	n, err := Start(context.Background(), killOptions(home))
	if err != nil {
		return err
	}
	fmt.Println("height", n.Height())
	var out sync.Mutex
	for _, w := range payers() {
		w.sync(n.Nodes[0].App)
		go func() {
			for {
				if err := paySix(n, w); err != nil {
					// The pools of several nodes may see numbers out of order; what
					// is not final is paid again.
					time.Sleep(300 * time.Millisecond)
					w.sync(n.Nodes[0].App)
					continue
				}
				out.Lock()
				fmt.Println("paid 6")
				out.Unlock()
			}
		}()
	}
	select {}
}

// paySix hands over five payments and waits until a sixth is final, and with it
// the others, whose numbers come before.
func paySix(n *Net, w *wallet) error {
	for range 5 {
		res, err := n.Nodes[0].Client.BroadcastTxSync(context.Background(), w.sign(n.Nodes[0].App, 200_000, w.send(payee, 1)))
		if err != nil {
			return err
		}
		if res.Code != 0 {
			return errors.New(res.Log)
		}
	}
	res, err := submit(n, w.sign(n.Nodes[0].App, 200_000, w.send(payee, 1)))
	if err == nil && res.TxResult.Code != 0 {
		err = errors.New(res.TxResult.Log)
	}
	return err
}

var payee = newWallet(9).address()

// run starts the child, kills it at the given moment after it is up, and
// returns its first height and how much it said was final.
func runAndKill(t *testing.T, home string, after time.Duration) (height int64, paid int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childHome+"="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	giveUp := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		switch l := lines.Text(); {
		case strings.HasPrefix(l, "error:"):
			t.Error(l)
		case strings.HasPrefix(l, "height "):
			_, _ = fmt.Sscanf(l, "height %d", &height)
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		default:
			if _, err := fmt.Sscanf(l, "paid %d", &n); err == nil {
				paid += n
			}
		}
	}
	_ = cmd.Wait()
	if height == 0 {
		t.Fatalf("the child did not start: %s", stderr.String())
	}
	return height, paid
}

func TestKilledAtAnyMomentContinues(t *testing.T) {
	if testing.Short() {
		t.Skip("starts four processes")
	}
	home, height, final := t.TempDir(), int64(0), 0
	for _, after := range []time.Duration{37, 911, 503, 1290} {
		h, paid := runAndKill(t, home, after*time.Millisecond)
		if h <= height {
			t.Errorf("restarted at height %d, which was %d before", h, height)
		}
		height, final = h, final+paid
	}
	if final == 0 {
		t.Fatal("the child never paid: the test shows nothing")
	}
	n := start(t, killOptions(home))
	if n.Height() <= height {
		t.Errorf("height %d after %d", n.Height(), height)
	}
	got := n.Nodes[0].App.Bank.GetBalance(n.Nodes[0].App.Context(), payee[:], core.BaseDenom).Amount.Int64()
	t.Logf("height %d, %d payments were final, %d are in the state", n.Height(), final, got)
	if got < int64(final) {
		t.Errorf("%d payments were final, the state has %d", final, got)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	checkBooks(t, n)
}
