//go:build unix

package packed

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (s *State) addInode(path string) {
	var u unix.Stat_t
	if unix.Stat(path, &u) == nil {
		s.Device, s.Inode = uint64(u.Dev), uint64(u.Ino)
		seconds, nanoseconds := u.Ctim.Unix()
		s.Changed = seconds*1e9 + nanoseconds
	}
}

// mine reports whether the file belongs to the user of this process.
func mine(stat os.FileInfo) bool {
	u, ok := stat.Sys().(*syscall.Stat_t)
	return ok && int(u.Uid) == os.Geteuid()
}

// available is how many bytes an unprivileged user may still write to dir's
// file system, and its size.
func available(dir string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), uint64(s.Blocks) * uint64(s.Bsize), nil
}

// lock takes the exclusive lock of a file unless another process has it.
func lock(fd *os.File) bool { return unix.Flock(int(fd.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }
