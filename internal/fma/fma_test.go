// Package fma holds the rule that canonical arithmetic rounds each product
// before it is added: on processors where Go fuses the two by itself, the
// compiled code of these packages has no fused instruction, and neither has
// their assembly.
package fma

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const engine = "../../infra/engine"

// canonical packages compute what must be the same bits everywhere.
var canonical = []string{"spec", "kernel", "sample", "model", "train/internal/gemm", "train"}

// fused matches the names that Go's assembler has for them: FMADDS, FNMSUBD,
// VFMADD231PS, WFMADB, VFMLA and so on.
var fused = regexp.MustCompile(`(?m)\s([VW]?FN?M(ADD|SUB|AD|SD)[A-Z0-9]*|VFML[AS])\s`)

// A fused instruction is looked for wherever the compiler uses them unasked:
// always, and on amd64 at the level that has them.
func TestNothingIsFused(t *testing.T) {
	for _, target := range [][]string{{"GOARCH=arm64"}, {"GOARCH=amd64", "GOAMD64=v3"}, {"GOARCH=riscv64"}, {"GOARCH=ppc64le"}, {"GOARCH=s390x"}} {
		t.Run(strings.Join(target, " "), func(t *testing.T) {
			if testing.Short() && target[0] != "GOARCH=arm64" {
				t.Skip("compiles the engine for another processor")
			}
			if found := fused.FindAllString(compile(t, target, "./testdata/fused.go"), -1); len(found) < 2 {
				t.Fatalf("x*y + z compiles to the fused instructions %q here, in two precisions: the check is blind", found)
			}
			for _, p := range canonical {
				out := compile(t, target, engine+"/"+p)
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

// A line of the disassembler: file, address, instruction, text.
var words = regexp.MustCompile(`(?m)^ +(\S+\.s):\d+\t+0x[0-9a-f]+\t+([0-9a-f]{8})\t`)

// TestAssemblyHasNothingFused reads the kernels' sources, and for arm64, where
// instructions stand as numbers, what they assemble to.
func TestAssemblyHasNothingFused(t *testing.T) {
	for _, p := range []string{"kernel", "train/internal/gemm"} {
		files, err := filepath.Glob(filepath.Join(engine, p, "*.s"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: found the assembly %q, %v", p, files, err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if found := fused.Find(source); found != nil {
				t.Errorf("%s: %s", file, found)
			}
		}
		instructions := words.FindAllStringSubmatch(disassemble(t, engine+"/"+p), -1)
		if len(instructions) < 100 {
			t.Errorf("%s: saw only %d instructions: the check is blind", p, len(instructions))
		}
		for _, found := range instructions {
			word, err := strconv.ParseUint(found[2], 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			if fusedWord(uint32(word)) {
				t.Errorf("%s: %s", found[1], found[0])
			}
		}
	}
}

// disassemble lists one package's part of a program for arm64.
func disassemble(t *testing.T, what string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "test", "-c", "-o", program, what)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c %s: %v\n%s", what, err, out)
	}
	name := regexp.QuoteMeta(strings.TrimPrefix(what, engine))
	out, err := exec.Command("go", "tool", "objdump", "-s", "infra/engine"+name+`\.`, program).Output()
	if err != nil {
		t.Fatalf("go tool objdump: %v", err)
	}
	return string(out)
}

// fusedWord reports whether an instruction of arm64 multiplies and adds
// floating-point numbers without rounding in between.
func fusedWord(w uint32) bool {
	for _, class := range []struct{ mask, bits uint32 }{
		{0xff000000, 0x1f000000}, // FMADD, FMSUB, FNMADD, FNMSUB
		{0xbf20fc00, 0x0e20cc00}, // FMLA, FMLS of vectors
		{0xbf60fc00, 0x0e400c00}, // of half precision
		{0x9f80b400, 0x0f801000}, // FMLA, FMLS by element, and FCMLA
		{0xdf80b400, 0x5f801000}, // of scalars
		{0xbfc0b400, 0x0f001000}, // of half precision
		{0xbf60fc00, 0x0e20ec00}, // FMLAL, FMLSL
		{0xbf60fc00, 0x2e20cc00}, // FMLAL2, FMLSL2
	} {
		if w&class.mask == class.bits {
			return true
		}
	}
	return false
}

func TestFusedWordsAreKnown(t *testing.T) {
	for _, c := range []struct {
		word  uint32
		fused bool
		name  string
	}{
		{0x1f020c20, true, "fmadd s0, s1, s2, s3"},
		{0x1f628c20, true, "fnmsub"},
		{0x4e22cc20, true, "fmla v0.4s, v1.4s, v2.4s"},
		{0x4ea2cc20, true, "fmls v0.4s, v1.4s, v2.4s"},
		{0x4e62cc20, true, "fmla v0.2d, v1.2d, v2.2d"},
		{0x4f821020, true, "fmla v0.4s, v1.4s, v2.s[0]"},
		{0x4fa25820, true, "fmls v0.4s, v1.4s, v2.s[3]"},
		{0x5f821020, true, "fmla s0, s1, v2.s[0]"},
		{0x6e22dc20, false, "fmul v0.4s, v1.4s, v2.4s"},
		{0x4f829020, false, "fmul v0.4s, v1.4s, v2.s[0]"},
		{0x4e22d420, false, "fadd v0.4s, v1.4s, v2.4s"},
		{0x4f82e020, false, "sdot v0.4s, v1.16b, v2.4b[0]"},
		{0x0e228020, false, "smlal v0.8h, v1.8b, v2.8b"},
		{0x1e220820, false, "fmul s0, s1, s2"},
	} {
		if fusedWord(c.word) != c.fused {
			t.Errorf("%08x (%s): fused is %v", c.word, c.name, !c.fused)
		}
	}
}
