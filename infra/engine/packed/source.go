package packed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Source is a model file in one state. A file that is written to, replaced or
// moved has another one.
type Source struct {
	Path     string `json:"path"` // absolute
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds
	Changed  int64  `json:"changed"`  // nanoseconds, of content or inode; 0 where the system does not say
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
}

// settled is how old a file's last change must be: within one tick of the file
// system's clock a second change would not show.
const settled = time.Second

// Identify names the file at path. It refuses one that changed within the last
// second, because it might still be changing.
func Identify(path string) (Source, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Source{}, err
	}
	stat, err := os.Stat(path)
	if err != nil {
		return Source{}, err
	}
	s := Source{Path: path, Size: stat.Size(), Modified: stat.ModTime().UnixNano()}
	s.addInode(stat)
	if time.Since(time.Unix(0, max(s.Modified, s.Changed))) < settled {
		return Source{}, errors.New("the file has just changed")
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
