package spec

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

// TestDiscipline checks the rules that make this package a function of its
// arguments: few imports, few functions of math, every floating-point product
// converted, no goroutine, map or channel.
func TestDiscipline(t *testing.T) {
	files := token.NewFileSet()
	packages, err := parser.ParseDir(files, ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	var sources []*ast.File
	for _, f := range packages["spec"].Files {
		sources = append(sources, f)
	}
	if len(sources) < 10 {
		t.Fatalf("found %d files", len(sources))
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	config := types.Config{Error: func(error) {}} // imports stay unknown, which is enough
	_, _ = config.Check("spec", files, sources, info)
	float := func(e ast.Expr) bool {
		value := info.Types[e]
		if value.Value != nil || value.Type == nil {
			return false
		}
		basic, ok := value.Type.Underlying().(*types.Basic)
		return !ok || basic.Info()&types.IsInteger == 0
	}
	products := 0
	for _, source := range sources {
		for _, spec := range source.Imports {
			if !slices.Contains([]string{`"math"`, `"encoding/binary"`, `"crypto/sha256"`, `"fmt"`}, spec.Path.Value) {
				t.Errorf("%s: import of %s", files.Position(spec.Pos()), spec.Path.Value)
			}
		}
		converted := map[ast.Expr]bool{}
		ast.Inspect(source, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.MapType, *ast.ChanType, *ast.SelectStmt:
				t.Errorf("%s: a %T", files.Position(n.Pos()), n)
			case *ast.SelectorExpr:
				allowed := []string{"Sqrt", "RoundToEven", "Float32bits", "Float32frombits", "Float64bits", "Float64frombits"}
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "math" && !slices.Contains(allowed, n.Sel.Name) {
					t.Errorf("%s: math.%s", files.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "float32" || f.Name == "float64") {
					converted[n.Args[0]] = true
				}
			case *ast.AssignStmt:
				if n.Tok == token.MUL_ASSIGN && float(n.Lhs[0]) {
					t.Errorf("%s: a product that is not converted", files.Position(n.Pos()))
				}
			case *ast.BinaryExpr:
				if n.Op == token.MUL && float(n) {
					products++
					if !converted[n] {
						t.Errorf("%s: a product that is not converted", files.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
	if products < 50 {
		t.Errorf("saw only %d products: the check is blind", products)
	}
}
