package model

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// kept is a model file beside an empty folder to keep it in.
type kept struct {
	shape  tiny
	path   string
	folder string
	from   int64
}

func newKept(t *testing.T) *kept {
	t.Parallel()
	k := &kept{shape: standard, path: filepath.Join(t.TempDir(), "model.gguf"), folder: filepath.Join(t.TempDir(), "kept"), from: 1}
	k.shape.layers, k.shape.width, k.shape.hidden, k.shape.tied = 3, 256, 512, false
	k.write(t)
	return k
}

// write writes the model file, so long ago that it is surely complete.
func (k *kept) write(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(k.path, k.shape.bytes(t), 0o644); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
}

// open opens the model and returns what it did.
func (k *kept) open(t *testing.T) (*Model, string) {
	t.Helper()
	var did []string
	m, err := Open(k.path, Options{KVBudget: 64 << 20, Keep: k.folder, KeepFrom: k.from, Progress: func(what string, done, total int64) {
		if len(did) == 0 || did[len(did)-1] != what {
			did = append(did, what)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, strings.Join(did, ", ")
}

const everything = "packing the weights, computing the root, keeping the packed weights"

// check compares an open model with one that was never kept.
func (k *kept) check(t *testing.T, what string, m *Model) {
	t.Helper()
	fresh := k.shape.open(t, Options{})
	if m.Root() != fresh.Root() {
		t.Errorf("%s: the root is %v, not %v", what, m.Root(), fresh.Root())
	}
	in := core.SequenceInput{Input: prompt(m, 40, 1), Sampler: warm(9), Trace: true}
	answer(t, fresh, in).compare(t, what, answer(t, m, in))
}

func (k *kept) file(t *testing.T) string {
	t.Helper()
	files, err := os.ReadDir(k.folder)
	if err != nil || len(files) != 1 || !strings.HasSuffix(files[0].Name(), ".packed") {
		t.Fatalf("the folder holds %v, %v", files, err)
	}
	return filepath.Join(k.folder, files[0].Name())
}

func TestAKeptModelOpensWithoutItsFile(t *testing.T) {
	k := newKept(t)
	first, did := k.open(t)
	if did != everything {
		t.Errorf("the first Open did: %s", did)
	}
	k.check(t, "packed now", first)
	k.file(t)
	second, did := k.open(t)
	if did != "" {
		t.Errorf("the second Open did: %s", did)
	}
	k.check(t, "kept", second)

	third, _ := k.open(t) // nothing reads it: in the end all is there all the same
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		third.pass.Lock()
		left := third.storage.left
		third.pass.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d stages are still not in memory", left)
		}
	}
	k.check(t, "read ahead", third)
}

func TestAnotherStateOfTheFileIsPackedAnew(t *testing.T) {
	k := newKept(t)
	k.open(t)
	k.shape.seed++
	k.write(t)
	m, did := k.open(t)
	if did != everything {
		t.Errorf("Open of the changed file did: %s", did)
	}
	k.check(t, "changed", m)
	k.file(t) // in place of the old one
	if m, did := k.open(t); did != "" {
		t.Errorf("and again: %s", did)
	} else {
		k.check(t, "changed and kept", m)
	}
}

func TestDamagedKeptModelsAreNotUsed(t *testing.T) {
	k := newKept(t)
	k.open(t)
	path := k.file(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	for name, b := range map[string][]byte{
		"empty":                  {},
		"cut in half":            good[:len(good)/2],
		"without its last byte":  good[:len(good)-1],
		"with a byte more":       append(bytes.Clone(good), 0),
		"all zeros":              make([]byte, len(good)),
		"another magic":          flipped(7),
		"another header's place": flipped(9),
		"a damaged header":       flipped(len(good) - 100),
		"a damaged digest":       flipped(25),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, did := k.open(t)
		if did != everything {
			t.Errorf("%s: Open did: %s", name, did)
		}
		k.check(t, name, m)
		if again, _ := os.ReadFile(path); !bytes.Equal(again, good) {
			t.Errorf("%s: it was not kept anew", name)
		}
	}

	// Damage to weights shows when they are read: they come from the model's file.
	if err := os.WriteFile(path, flipped(len(good)/2), 0o600); err != nil {
		t.Fatal(err)
	}
	m, did := k.open(t)
	k.check(t, "damaged weights", m)
	if strings.Contains(did, "root") {
		t.Errorf("damaged weights: Open did: %s", did)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the damaged file is still there")
	}
}

// A kept file that is cut off while the model is open is an error to be mended,
// not a crash.
func TestAKeptModelIsCutOffWhileItIsOpen(t *testing.T) {
	k := newKept(t)
	k.open(t)
	path := k.file(t)
	m, _ := k.open(t)
	if err := os.Truncate(path, 10000); err != nil {
		t.Fatal(err)
	}
	k.check(t, "cut off", m)
}

func TestModelsThatCannotBeKept(t *testing.T) {
	k := newKept(t)
	if err := os.WriteFile(k.folder, []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, did := k.open(t)
	if !strings.Contains(did, "not keeping") {
		t.Errorf("Open did: %s", did)
	}
	k.check(t, "not kept", m)

	// A file that has just changed may still be changing.
	os.Remove(k.folder)
	if err := os.WriteFile(k.path, k.shape.bytes(t), 0o644); err != nil {
		t.Fatal(err)
	}
	k.open(t)
	if files, _ := os.ReadDir(k.folder); len(files) > 0 {
		t.Errorf("kept %v of a file that has just been written", files)
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	k := newKept(t)
	var wait sync.WaitGroup
	models := make([]*Model, 6)
	errs := make([]error, len(models))
	for i := range models {
		wait.Go(func() {
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			models[i], errs[i] = Open(k.path, Options{Threads: 1, KVBudget: 64 << 20, Keep: k.folder, KeepFrom: 1})
		})
	}
	wait.Wait()
	for i, m := range models {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		k.check(t, fmt.Sprint("model ", i), m)
		m.Close()
	}
	k.file(t)
}

func TestSmallFilesAreNotKept(t *testing.T) {
	k := newKept(t)
	k.from = 0
	k.open(t)
	if _, err := os.Stat(k.folder); err == nil {
		t.Error("a small file was kept")
	}
}

// The file of a kept model may differ from what its header says only if somebody
// wrote both; a header that lacks a matrix is refused all the same.
func TestAKeptModelWithoutAMatrix(t *testing.T) {
	k := newKept(t)
	m, _ := k.open(t)
	s := openStorage(m.file, m.pool, Options{Keep: k.folder, KeepFrom: 1})
	if s.kept == nil {
		t.Fatal("nothing is kept")
	}
	defer s.close()
	tensor, _ := m.file.Tensor("blk.0.attn_q.weight")
	other := *tensor
	other.Name = "blk.0.other.weight"
	if _, err := s.matrix(&other, 0, tensor.Rows()); err != errForeign {
		t.Errorf("a matrix that is not kept: %v", err)
	}
	if _, err := s.matrix(tensor, 8, tensor.Rows()-8); err != errForeign {
		t.Errorf("rows that are not kept: %v", err)
	}
}
