package packed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// TestMain lets the test binary be a process that is killed while it keeps.
func TestMain(m *testing.M) {
	if folder := os.Getenv("PACKED_KEEP_AND_WAIT"); folder != "" {
		source := Source{Path: os.Getenv("PACKED_SOURCE"), Files: []State{{Size: 1}}}
		err := Keep(folder, source, core.ModelID{1}, entries(), func(int64) {
			fmt.Println("writing")
			time.Sleep(time.Hour)
		})
		fmt.Println(err)
		return
	}
	os.Exit(m.Run())
}

// entries are two matrices, one of several chunks and with a last panel that is
// only partly real.
func entries() []Entry {
	r := rand.New(rand.NewPCG(1, 2))
	matrix := func(rows, cols int) *kernel.Matrix {
		data := make([]byte, rows*cols/spec.Block*spec.Q8Bytes)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for i := 0; i < len(data); i += spec.Q8Bytes {
			binary.LittleEndian.PutUint16(data[i:], 0x3c00)
		}
		m, err := kernel.NewMatrix(kernel.Q8_0, rows, cols, data)
		if err != nil {
			panic(err)
		}
		return m
	}
	return []Entry{{"large", 0, matrix(2500, 1024)}, {"split", 8, matrix(13, 64)}}
}

func sourceFile(t *testing.T) Source {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, []byte{1}, 0o644); err != nil {
		t.Fatal(err)
	}
	return Source{Path: path, Files: []State{{Size: 1}}}
}

func checkKept(t *testing.T, folder string, s Source, want []Entry) {
	t.Helper()
	f, err := Open(folder, s)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Root() != (core.ModelID{1}) {
		t.Errorf("root %v", f.Root())
	}
	for _, e := range want {
		m, ok := f.Matrix(e.Tensor, e.First, e.Matrix.Rows, e.Matrix.Cols, e.Matrix.Format)
		if !ok {
			t.Fatalf("%s is not there", e.Tensor)
		}
		got := make([]byte, m.Size)
		if err := f.Read(nil, m, got); err != nil || !bytes.Equal(got, e.Matrix.Packed()) {
			t.Errorf("%s differs from what was kept, %v", e.Tensor, err)
		}
	}
}

func TestKeepAndRead(t *testing.T) {
	folder, s, es := filepath.Join(t.TempDir(), "a", "b"), sourceFile(t), entries()
	var written int64
	if err := Keep(folder, s, core.ModelID{1}, es, func(n int64) { written += n }); err != nil {
		t.Fatal(err)
	}
	if want := int64(es[0].Matrix.Bytes() + es[1].Matrix.Bytes()); written != want {
		t.Errorf("told %d bytes, want %d", written, want)
	}
	checkKept(t, folder, s, es)
	if stat, _ := os.Stat(filepath.Join(folder, s.name())); stat.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v", stat.Mode())
	}
	for what, change := range map[string]func(*Source){
		"size": func(s *Source) { s.Files[0].Size++ }, "time": func(s *Source) { s.Files[0].Modified++ },
		"inode": func(s *Source) { s.Files[0].Inode++ }, "path": func(s *Source) { s.Path += "x" },
		"a part": func(s *Source) { s.Files = append(s.Files, State{}) },
	} {
		other := Source{Path: s.Path, Files: slices.Clone(s.Files)}
		change(&other)
		if f, err := Open(folder, other); err == nil {
			f.Close()
			t.Errorf("found with another %s", what)
		}
	}
}

func TestMatricesOfAnotherShapeAreNotThere(t *testing.T) {
	folder, s, es := t.TempDir(), sourceFile(t), entries()
	if err := Keep(folder, s, core.ModelID{1}, es, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(folder, s)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, ok := range []bool{
		has(f, "large", 8, 2500, 1024, kernel.Q8_0), has(f, "large", 0, 2500, 512, kernel.Q8_0), has(f, "large", 0, 2500, 1024, kernel.Q4_0),
		has(f, "large", 0, 2504, 1024, kernel.Q8_0), has(f, "none", 0, 2500, 1024, kernel.Q8_0),
	} {
		if ok {
			t.Error("found")
		}
	}
}

func has(f *File, tensor string, first, rows, cols int, format kernel.Format) bool {
	_, ok := f.Matrix(tensor, first, rows, cols, format)
	return ok
}

func TestAKilledProcessIsTakenOver(t *testing.T) {
	folder, s, es := t.TempDir(), sourceFile(t), entries()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "PACKED_KEEP_AND_WAIT="+folder, "PACKED_SOURCE="+s.Path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 8)
	if _, err := out.Read(line); err != nil || string(line) != "writing\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if _, err := os.Stat(filepath.Join(folder, s.name()+partial)); err != nil {
		t.Fatal(err)
	}
	if err := Keep(folder, s, core.ModelID{1}, es, nil); !errors.Is(err, ErrTaken) {
		t.Errorf("while the other one lives: %v", err)
	}
	child.Process.Kill()
	child.Wait()
	if _, err := Open(folder, s); err == nil {
		t.Error("half a file is used")
	}
	if err := Keep(folder, s, core.ModelID{1}, es, nil); err != nil {
		t.Fatal(err)
	}
	checkKept(t, folder, s, es)
	if files, _ := os.ReadDir(folder); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestCleanRemovesWhatNobodyCanUse(t *testing.T) {
	folder, gone, here := t.TempDir(), sourceFile(t), sourceFile(t)
	for _, s := range []Source{gone, here} {
		if err := Keep(folder, s, core.ModelID{1}, entries(), nil); err != nil {
			t.Fatal(err)
		}
	}
	os.Remove(gone.Path)
	old := filepath.Join(folder, "00"+suffix)
	other := filepath.Join(folder, "notes.txt")
	for _, path := range []string{old, other} {
		if err := os.WriteFile(path, []byte("koinonP\x00 of an earlier version"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	Clean(folder)
	for path, want := range map[string]bool{filepath.Join(folder, gone.name()): false, filepath.Join(folder, here.name()): true, old: false, other: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAuditRemovesWhatIsWrong(t *testing.T) {
	folder, s := t.TempDir(), sourceFile(t)
	if err := Audit(folder, s, core.ModelID{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is kept: %v", err)
	}
	keep := func() {
		if err := Keep(folder, s, core.ModelID{1}, entries(), nil); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(folder, s.name())
	keep()
	if err := Audit(folder, s, core.ModelID{1}); err != nil {
		t.Errorf("a sound one: %v", err)
	}
	if err := Audit(folder, s, core.ModelID{2}); err == nil {
		t.Error("another root is sound")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it is still there")
	}
	keep()
	fd, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fd.WriteAt([]byte("damage"), alignment+chunk+17); err != nil {
		t.Fatal(err)
	}
	fd.Close()
	if err := Audit(folder, s, core.ModelID{1}); err == nil {
		t.Error("damage is sound")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the damaged one is still there")
	}
}

func TestADiskIsNotFilledUp(t *testing.T) {
	if err := room(t.TempDir(), 1<<60); err == nil {
		t.Error("an exabyte fits")
	}
	if err := room(t.TempDir(), 1<<10); err != nil {
		t.Error(err)
	}
}

func TestIdentify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if _, err := Identify(path); err == nil {
		t.Error("a file that does not exist")
	}
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Identify(path); err == nil {
		t.Error("a file of this moment")
	}
	time.Sleep(settled + 50*time.Millisecond)
	a, err := Identify(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Files[0].Size != 3 || a.Path != path || a.Files[0].Modified == 0 {
		t.Errorf("%+v", a)
	}
	// Somebody who sets the time back does not hide a change.
	if err := os.WriteFile(path, []byte("abd"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(path, time.Unix(0, a.Files[0].Modified), time.Unix(0, a.Files[0].Modified))
	time.Sleep(settled + 50*time.Millisecond)
	if b, err := Identify(path); err != nil || a.Files[0].Inode > 0 && a.Equal(b) {
		t.Errorf("a change is not seen: %+v, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	folder := f.TempDir()
	s := Source{Path: filepath.Join(folder, "m"), Files: []State{{Size: 1}}}
	small := entries()[1:]
	if err := Keep(folder, s, core.ModelID{1}, small, nil); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(folder, s.name()))
	if err != nil {
		f.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint32(good[16:]))
	f.Add(good[len(good)-n:], int64(len(good)))
	f.Add([]byte(`{"matrices":[{"rows":1,"cols":32,"format":2,"offset":-4096,"size":272}]}`), int64(1<<20))
	f.Fuzz(func(t *testing.T, text []byte, size int64) {
		end := size - int64(len(text))
		if end < alignment || end > 1<<30 {
			return
		}
		h := &header{}
		first, _, err := h.encode(end)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(&sparse{first: forge(first, text), text: text, end: end}, size)
		if err != nil {
			return
		}
		for _, m := range got.Matrices {
			if m.Offset < alignment || m.Offset+m.Size > end || m.Size <= 0 {
				t.Fatalf("%+v in %d bytes", m, end)
			}
		}
	})
}

// forge makes a preamble that fits text.
func forge(first, text []byte) []byte {
	binary.LittleEndian.PutUint32(first[len(magic)+8:], uint32(len(text)))
	digest := sha256.Sum256(text)
	return append(first[:len(magic)+12], digest[:]...)
}

// sparse is a file of a preamble and a header with nothing between.
type sparse struct {
	first, text []byte
	end         int64
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	if at == 0 {
		return copy(p, s.first), nil
	}
	return copy(p, s.text[at-s.end:]), nil
}
