package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// The owner makes a key while the gateway runs: calls need it from then on, it
// pays for its answers alone, survives a kill, and ends when it is revoked.
func TestKeys(t *testing.T) {
	home := filepath.Join(t.TempDir(), "h")
	d, err := launch(t, home)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(key string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, d.API+"/chat/completions", strings.NewReader(d.question("What is a receipt?", "")))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, b := ask(""); status != 200 {
		t.Fatal(status, b)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal([]byte(must(t, "key", "create", "app", "--budget", "5", "--home", home, "--output", "json")), &made); err != nil {
		t.Fatal(err)
	}
	if status, b := ask(""); status != 401 {
		t.Error(status, b)
	}
	status, b := ask(made.Secret)
	if status != 200 {
		t.Fatal(status, b)
	}
	var answer struct {
		Koinon struct{ Cost string }
	}
	if err := json.Unmarshal([]byte(b), &answer); err != nil {
		t.Fatal(err)
	}
	d.kill()
	var s struct{ Spent string }
	if err := json.Unmarshal([]byte(must(t, "key", "statement", "app", "--home", home, "--output", "json")), &s); err != nil || s.Spent != answer.Koinon.Cost {
		t.Errorf("after a kill the statement says %s, the answer said %s: %v", s.Spent, answer.Koinon.Cost, err)
	}
	if d, err = launch(t, home); err != nil {
		t.Fatal(err)
	}
	defer d.stop(t)
	if status, b := ask(made.Secret); status != 200 {
		t.Fatal(status, b)
	}
	must(t, "key", "revoke", "app", "--home", home)
	if status, b := ask(made.Secret); status != 401 {
		t.Error(status, b)
	}
}
