package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Limits of what a server sends.
const (
	maxEvent  = 1 << 20  // bytes of one event
	maxStream = 64 << 20 // bytes of one answer
)

var (
	errEvent  = errors.New("an event of the stream is larger than 1 MiB")
	errStream = errors.New("the stream is larger than 64 MiB")
)

// events reads server-sent events and returns the data of each. Comments and
// other fields are passed over.
type events struct {
	r    *bufio.Reader
	read int
	data []byte
}

func newEvents(r io.Reader) *events { return &events{r: bufio.NewReaderSize(r, 16<<10)} }

// next returns the data of the next event that has some, valid until the next
// call; io.EOF at the end.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	some := false
	for {
		line, err := e.line()
		if err != nil {
			if errors.Is(err, io.EOF) && some {
				return e.data, nil
			}
			return nil, err
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		switch {
		case len(line) == 0 && some:
			return e.data, nil
		case !ok:
			continue
		}
		if some {
			e.data = append(e.data, '\n')
		}
		some = true
		e.data = append(e.data, bytes.TrimPrefix(value, []byte(" "))...)
		if len(e.data) > maxEvent {
			return nil, errEvent
		}
	}
}

// line returns the next line without its end. A last line needs none.
func (e *events) line() ([]byte, error) {
	var line []byte
	for {
		part, err := e.r.ReadSlice('\n')
		if e.read += len(part); e.read > maxStream {
			return nil, errStream
		}
		if len(line)+len(part) > maxEvent+8 {
			return nil, errEvent
		}
		if err == nil && line == nil {
			return bytes.TrimRight(part, "\r\n"), nil
		}
		line = append(line, part...)
		switch {
		case err == nil, err == io.EOF && len(line) > 0:
			return bytes.TrimRight(line, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, err
		}
	}
}
