// Package layers holds the rule of the house: imports only go down.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/koinon-network/koinon/"

// floors orders the layers from the ground up.
var floors = []string{"core", "infra", "middleware", "apps", "node", "cmd"}

// shared lists packages of infra that its other parts may import: the arithmetic
// of vouchers and of VRFs, and the rules of disputes, which the chain holds too.
var shared = map[string]bool{"infra/voucher": true, "infra/vrf": true, "infra/engine/referee": true}

func floor(pkg string) int {
	top, _, _ := strings.Cut(pkg, "/")
	for i, f := range floors {
		if f == top {
			return i
		}
	}
	return -1
}

// house is the part of infra, middleware or apps that a package belongs to.
func house(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	if len(parts) < 2 {
		return pkg
	}
	return parts[0] + "/" + parts[1]
}

// breach says why from may not import to, or "".
func breach(from, to string) string {
	f, t := floor(from), floor(to)
	switch {
	case strings.HasPrefix(to, "internal/"), strings.HasPrefix(from, "internal/"), strings.HasPrefix(from, "test/"), strings.HasPrefix(from, "bench/"):
		return ""
	case f < 0:
		return from + " stands on no floor"
	case t < 0:
		return to + " stands on no floor"
	case t > f:
		return from + " imports upwards: " + to
	case t == f && floors[f] == "infra" && house(from) != house(to) && !shared[to]:
		return "siblings meet in core: " + from + " imports " + to
	}
	return ""
}

func TestImportsOnlyGoDown(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(p, "go.mod"))
			if strings.HasPrefix(d.Name(), ".") && p != root || d.Name() == "node_modules" || d.Name() == "testdata" || nested == nil && p != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		files++
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(rel)
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, im := range f.Imports {
			path, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			if to, ours := strings.CutPrefix(path, module); ours {
				if b := breach(from, to); b != "" {
					t.Errorf("%s: %s", p, b)
				}
			} else if floor(from) == 0 && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
				t.Errorf("%s: core imports only the standard library, not %s", p, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d files were read: the walk is broken", files)
	}
}

func TestBreach(t *testing.T) {
	for _, c := range []struct {
		from, to string
		bad      bool
	}{
		{"core", "infra/engine", true},
		{"infra/engine/model", "infra/engine/spec", false},
		{"infra/compute", "infra/payment", true},
		{"infra/payment", "infra/voucher", false},
		{"infra/ledger/x/beacon", "infra/vrf", false},
		{"infra/ledger/x/verify", "infra/engine/referee", false},
		{"infra/ledger/x/verify", "infra/engine/prover", true},
		{"middleware/gateway", "infra/payment", false},
		{"middleware/gateway", "apps/console", true},
		{"apps/console", "middleware/gateway", false},
		{"node", "apps/console", false},
		{"cmd/koinon", "node/command", false},
		{"stray", "core", true},
	} {
		if got := breach(c.from, c.to) != ""; got != c.bad {
			t.Errorf("%s -> %s: breach %v, want %v", c.from, c.to, got, c.bad)
		}
	}
}
