// Package determinism finds what would make validators disagree: floating
// point, the order of maps, clocks, goroutines, chance and the machine's
// surroundings in the chain's modules.
//
// [Check] reads one type-checked package. The package's test runs it over
// infra/ledger/x.
package determinism

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// forbidden packages have no use in a state machine.
var forbidden = map[string]string{
	"math/rand": "chance", "math/rand/v2": "chance", "crypto/rand": "chance",
	"os": "the machine's surroundings", "net": "the machine's surroundings", "net/http": "the machine's surroundings",
	"runtime": "the machine's surroundings", "unsafe": "the machine's memory",
}

// clocks are the functions of package time that read one or wait for it.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep", "Local", "LoadLocation"}

// Check returns what is wrong with a package's files, one line each. Generated
// files are left out: their generators answer for them.
func Check(fset *token.FileSet, files []*ast.File, info *types.Info) []string {
	c := checker{fset: fset, info: info}
	for _, f := range files {
		if !ast.IsGenerated(f) {
			ast.Inspect(f, c.visit)
		}
	}
	slices.Sort(c.found)
	return slices.Compact(c.found)
}

type checker struct {
	fset   *token.FileSet
	info   *types.Info
	sorted []ast.Node // iterations over maps that are put in order at once
	found  []string
}

func (c *checker) report(at ast.Node, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s: %s", c.fset.Position(at.Pos()), fmt.Sprintf(format, args...)))
}

func (c *checker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		if why, ok := forbidden[strings.Trim(n.Path.Value, `"`)]; ok {
			c.report(n, "import of %s: %s", n.Path.Value, why)
		}
	case *ast.GoStmt:
		c.report(n, "goroutine: the order of its effects is chance")
	case *ast.SelectStmt:
		c.report(n, "select: its choice is chance")
	case *ast.RangeStmt:
		if t := c.info.TypeOf(n.X); t != nil {
			if _, ok := t.Underlying().(*types.Map); ok {
				c.report(n, "range over a map: its order is chance; range over its sorted keys")
			}
		}
	case *ast.CallExpr:
		c.call(n)
	case ast.Expr:
		c.float(n)
	}
	return true
}

func (c *checker) call(n *ast.CallExpr) {
	pkg, name := c.callee(n)
	switch {
	case pkg == "slices" && (name == "Sorted" || name == "SortedFunc"):
		c.sorted = append(c.sorted, n.Args[0])
	case pkg == "maps" && (name == "Keys" || name == "Values" || name == "All") && !slices.Contains(c.sorted, ast.Node(n)):
		c.report(n, "maps.%s without slices.Sorted around it: its order is chance", name)
	case pkg == "time" && slices.Contains(clocks, name):
		c.report(n, "time.%s: every validator has its own clock; use the block's time", name)
	}
	c.float(n)
}

func (c *checker) callee(n *ast.CallExpr) (pkg, name string) {
	fun := ast.Unparen(n.Fun)
	if index, ok := fun.(*ast.IndexExpr); ok {
		fun = index.X
	}
	selector, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	f, ok := c.info.Uses[selector.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
		return "", ""
	}
	return f.Pkg().Path(), f.Name()
}

func (c *checker) float(n ast.Expr) {
	t := c.info.TypeOf(n)
	if t == nil {
		return
	}
	if b, ok := t.Underlying().(*types.Basic); ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
		c.report(n, "floating point: machines may round differently")
	}
}
