package packed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Source is a model file, or the files of a model in parts, in one state. A file
// that is written to, replaced or moved has another one.
type Source struct {
	Path  string  `json:"path"` // absolute, of the first file
	Files []State `json:"files"`
}

// State tells one content of a file from the next.
type State struct {
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds
	Changed  int64  `json:"changed"`  // nanoseconds, of content or inode; 0 where the system does not say
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
}

// Equal reports whether both are the same files in the same state.
func (s *Source) Equal(other Source) bool {
	return s.Path == other.Path && slices.Equal(s.Files, other.Files)
}

// settled is how old a file's last change must be: within one tick of the file
// system's clock a second change would not show.
const settled = time.Second

// Identify names the files at the paths, which are one model. It refuses one
// that changed within the last second, because it might still be changing.
func Identify(paths ...string) (Source, error) {
	var s Source
	for i, path := range paths {
		path, err := filepath.Abs(path)
		if err != nil {
			return Source{}, err
		}
		if i == 0 {
			s.Path = path
		}
		stat, err := os.Stat(path)
		if err != nil {
			return Source{}, err
		}
		state := State{Size: stat.Size(), Modified: stat.ModTime().UnixNano()}
		state.addInode(path)
		if time.Since(time.Unix(0, max(state.Modified, state.Changed))) < settled {
			return Source{}, errors.New("the file has just changed")
		}
		s.Files = append(s.Files, state)
	}
	return s, nil
}

// name is the file name under which s is kept: one for each path, so that a new
// state of a file replaces what was kept of the old one.
func (s *Source) name() string {
	h := sha256.Sum256([]byte(s.Path))
	return hex.EncodeToString(h[:16]) + suffix
}

const suffix = ".packed"
