package spec

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
	"testing"
)

// notArithmetic are exported functions that give whole numbers or say yes or
// no: the tests of what uses them hold them.
var notArithmetic = map[string]bool{"Finite": true, "WindowStart": true, "Formats": true, "String": true, "Quantized": true, "RowBytes": true}

// TestVectorsCoverEveryOperator fails when an exported function is reached from
// no published vector.
func TestVectorsCoverEveryOperator(t *testing.T) {
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f fs.FileInfo) bool {
		return f.Name() == "vectors_test.go" || !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]map[string]bool{} // by name of a function or method
	exported := map[string]string{}
	for file, source := range packages["spec"].Files {
		for _, declaration := range source.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Name.IsExported() && file != "vectors_test.go" {
				exported[name] = file
			}
			if uses[name] == nil {
				uses[name] = map[string]bool{}
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					uses[name][id.Name] = true
				}
				return true
			})
		}
	}
	if len(exported) < 30 {
		t.Fatalf("found %d exported functions: the check is blind", len(exported))
	}
	reached := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		if reached[name] || uses[name] == nil {
			return
		}
		reached[name] = true
		for used := range uses[name] {
			reach(used)
		}
	}
	reach("vectorCases")
	for name, file := range exported {
		if !reached[name] && !notArithmetic[name] && !strings.HasPrefix(name, "Test") {
			t.Errorf("%s: %s occurs in no published vector", file, name)
		}
	}
}
