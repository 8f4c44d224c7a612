// Package e2e runs the real binary the way a user does and looks at what a user
// would notice. The package builds cmd/koinon once and shares one devnet between
// the tests that do not break it.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ready is the JSON line that a devnet prints when it can be used.
type ready struct {
	Ready      bool   `json:"ready"`
	API        string `json:"api"`
	Console    string `json:"console"`
	Home       string `json:"home"`
	ChainID    string `json:"chain_id"`
	EVMChainID uint64 `json:"evm_chain_id"`
	CometRPC   string `json:"comet_rpc"`
	GRPC       string `json:"grpc"`
	REST       string `json:"rest"`
	EVMRPC     string `json:"evm_rpc"`
	Model      struct {
		Name string `json:"name"`
		Root string `json:"root"`
	} `json:"model"`
	Accounts map[string]string `json:"accounts"`
}

var binary struct {
	once sync.Once
	path string
	err  error
	dir  string
}

// koinon builds the binary once.
func koinon(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.path = os.Getenv("KOINON_BINARY"); binary.path != "" {
			return
		}
		binary.dir, binary.err = os.MkdirTemp("", "koinon-e2e-")
		if binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir, "koinon")
		out, err := exec.Command("go", "build", "-o", binary.path, "../../cmd/koinon").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// devnet is a running network.
type devnet struct {
	ready
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	took   time.Duration
	done   chan error
}

// launch runs `koinon devnet` on home and waits until it is ready.
func launch(t testing.TB, home string, args ...string) (*devnet, error) {
	t.Helper()
	d := &devnet{stderr: &bytes.Buffer{}, done: make(chan error, 1)}
	d.cmd = exec.Command(koinon(t), append([]string{"devnet", "--home", home, "--listen", "127.0.0.1:0", "--output", "json"}, args...)...)
	d.cmd.Stderr = d.stderr
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	line := make(chan []byte, 1)
	go func() {
		b, _ := lines.ReadBytes('\n')
		line <- b
		_, _ = io.Copy(io.Discard, lines)
		d.done <- d.cmd.Wait()
	}()
	select {
	case b := <-line:
		d.took = time.Since(begin)
		if err := json.Unmarshal(b, &d.ready); err != nil || !d.Ready {
			err := errors.Join(err, <-d.done)
			return nil, fmt.Errorf("devnet did not get ready: %w\n%s\n%s", err, b, d.stderr)
		}
	case <-time.After(90 * time.Second):
		_ = d.cmd.Process.Kill()
		return nil, fmt.Errorf("devnet is not ready after 90 s\n%s", d.stderr)
	}
	return d, nil
}

// stop ends the devnet as Ctrl-C does and expects it to end well.
func (d *devnet) stop(t testing.TB) {
	t.Helper()
	if d.cmd.ProcessState != nil {
		return
	}
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("devnet ended with %v\n%s", err, d.stderr)
		}
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		_ = d.cmd.Process.Kill()
		t.Errorf("devnet does not stop\n%s", d.stderr)
	}
}

// kill ends the devnet as a power cut does.
func (d *devnet) kill() {
	_ = d.cmd.Process.Kill()
	<-d.done
}

// run calls the binary and returns its output.
func run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, koinon(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var x *exec.ExitError
	if err != nil && !errors.As(err, &x) {
		t.Fatalf("koinon %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must calls the binary and expects success.
func must(t testing.TB, args ...string) string {
	t.Helper()
	out, errs, code := run(t, args...)
	if code != 0 {
		t.Fatalf("koinon %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func (d *devnet) base() string { return strings.TrimSuffix(d.API, "/v1") }

// post sends a body to the API and returns status, headers and body.
func (d *devnet) post(t testing.TB, path, body string) (int, http.Header, []byte) {
	t.Helper()
	resp, err := http.Post(d.API+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b
}

func (d *devnet) get(t testing.TB, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: %s %v\n%s", url, resp.Status, err, b)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v\n%s", url, err, b)
	}
}

// question is a chat request for the devnet's model.
func (d *devnet) question(text string, extra string) string {
	b, _ := json.Marshal(text)
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%s}]%s}`, d.Model.Name, b, extra)
}

var shared struct {
	sync.Mutex
	net *devnet
	dir string
}

// sharedNetwork is the devnet that tests share.
func sharedNetwork(t testing.TB) *devnet {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.net == nil {
		dir, err := os.MkdirTemp("", "koinon-devnet-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		if shared.net, err = launch(t, filepath.Join(dir, "home")); err != nil {
			t.Fatal(err)
		}
	}
	return shared.net
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.net != nil {
		_ = shared.net.cmd.Process.Signal(os.Interrupt)
		select {
		case err := <-shared.net.done:
			if err != nil {
				fmt.Fprintln(os.Stderr, "the shared devnet ended with", err, shared.net.stderr)
				code = 1
			}
		case <-time.After(30 * time.Second):
			_ = shared.net.cmd.Process.Kill()
			fmt.Fprintln(os.Stderr, "the shared devnet did not stop")
			code = 1
		}
		os.RemoveAll(shared.dir)
	}
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}
