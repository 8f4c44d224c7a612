package proto_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The generated code in infra/ledger/x is what the generator makes of these
// files. The first run builds the generator, which may need the module proxy.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	cmd := exec.Command("go", "run", "-C", "../internal/protogen", ".", "-check")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return
	}
	for _, offline := range []string{"dial tcp", "module lookup disabled", "no such host"} {
		if strings.Contains(string(out), offline) {
			t.Skipf("the generator's modules are not here and cannot be fetched: %s", out)
		}
	}
	t.Fatalf("%v\n%s", err, out)
}
