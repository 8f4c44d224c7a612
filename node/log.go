package node

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// maxLogSize is when a log file is put aside; one older file is kept.
const maxLogSize = 16 << 20

// logFile is a log of bounded size.
type logFile struct {
	mu   sync.Mutex
	path string
	f    *os.File
	size int64
	log  *slog.Logger
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if err := l.open(); err != nil {
		return nil, err
	}
	l.log = slog.New(slog.NewTextHandler(l, nil))
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, st.Size()
	return nil
}

func (l *logFile) logger() *slog.Logger { return l.log }

// Write implements [io.Writer].
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, io.ErrClosedPipe
	}
	if l.size+int64(len(b)) > maxLogSize {
		l.f.Close()
		if err := os.Rename(l.path, l.path+".old"); err != nil {
			return 0, err
		}
		if err := l.open(); err != nil {
			l.f = nil
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

// Close closes the file; later lines are dropped.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Hardware describes this machine to buyers.
func Hardware() string {
	return fmt.Sprintf("%s/%s (%s), %d threads", runtime.GOOS, runtime.GOARCH, kernel.InstructionSet(), runtime.GOMAXPROCS(0))
}
