//go:build !unix

package gguf

import (
	"errors"
	"os"
)

func mapFile(*os.File, int64) ([]byte, func() error, error) {
	return nil, nil, errors.New("gguf: no memory mapping on this system")
}
