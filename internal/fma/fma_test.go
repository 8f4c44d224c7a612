// Package fma holds the rule that canonical arithmetic rounds each product
// before it is added: on processors where Go fuses the two by itself, the
// compiled code of these packages has no fused instruction.
package fma

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// canonical packages compute what must be the same bits everywhere.
var canonical = []string{"spec", "kernel", "sample", "model", "train/internal/gemm", "train"}

var fused = regexp.MustCompile(`\sV?FN?M(ADD|SUB)[A-Z0-9]*\s`)

// A fused instruction is looked for on arm64, which always has them, and on
// amd64 at the level that lets Go use them.
func TestNothingIsFused(t *testing.T) {
	for _, target := range [][]string{{"GOARCH=arm64"}, {"GOARCH=amd64", "GOAMD64=v3"}} {
		t.Run(strings.Join(target, " "), func(t *testing.T) {
			if out := compile(t, target, "testdata/fused.go"); !fused.MatchString(out) {
				t.Fatal("x*y + z does not compile to a fused instruction here: the check is blind")
			}
			for _, p := range canonical {
				path := "github.com/koinon-network/koinon/infra/engine/" + p
				out := compile(t, target, path)
				if !strings.Contains(out, "TEXT") {
					t.Fatalf("%s: no assembly to look at", p)
				}
				for line := range strings.Lines(out) {
					if fused.MatchString(line) {
						t.Errorf("%s: %s", p, strings.TrimSpace(line))
					}
				}
			}
		})
	}
}

// compile returns the assembly listing of one package.
func compile(t *testing.T, env []string, what string) string {
	t.Helper()
	cmd := exec.Command("go", "build", "-gcflags=-S", what)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go build %s: %v\n%s", what, err, out)
	}
	return string(out)
}
