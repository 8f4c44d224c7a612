package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/koinon-network/koinon/core"
)

// Home is a folder that belongs to one running process at a time.
type Home struct {
	Dir  string
	lock *os.File
}

// DefaultHome is $KOINON_HOME, or .koinon/NAME in the user's home folder.
func DefaultHome(name string) string {
	if h := os.Getenv("KOINON_HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(".koinon", name)
	}
	return filepath.Join(h, ".koinon", name)
}

// OpenHome creates the folder if need be and takes its lock. It fails when the
// folder cannot be written or another process runs on it.
func OpenHome(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	bad := func(err error) error {
		return &core.Error{Code: core.CodeUnavailable, Message: "the folder " + dir + " cannot be used", Next: "choose another with --home DIR", Err: err}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, bad(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, bad(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b, _ := os.ReadFile(f.Name())
		f.Close()
		who := "another process"
		if pid := strings.TrimSpace(string(b)); pid != "" {
			who = "process " + pid
		}
		return nil, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("%s already runs on %s", who, dir), Next: "stop it, or choose another folder with --home DIR"}
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid()))); err != nil {
		f.Close()
		return nil, bad(err)
	}
	return &Home{dir, f}, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

// Path joins names below the home folder.
func (h *Home) Path(names ...string) string {
	return filepath.Join(append([]string{h.Dir}, names...)...)
}

// Reset deletes everything in the folder except the lock.
func (h *Home) Reset() error {
	es, err := os.ReadDir(h.Dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		if e.Name() == "lock" {
			continue
		}
		if err := os.RemoveAll(h.Path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the folder free.
func (h *Home) Close() error { return h.lock.Close() }

// Load reads a JSON file of the home folder into v; false when there is none.
func (h *Home) Load(name string, v any) (bool, error) {
	b, err := os.ReadFile(h.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, &core.Error{Code: core.CodeInvalid, Message: h.Path(name) + " is damaged", Next: "start anew with --reset", Err: err}
	}
	return true, nil
}

// Save writes v as JSON so that a crash leaves the old file or the new one.
func (h *Home) Save(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(h.Path(name), append(b, '\n'))
}

func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
