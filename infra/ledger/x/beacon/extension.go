package beacon

import (
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/infra/vrf"
)

// A vote extension is a version byte and then contributions, each an age in
// blocks (0 is the height of the vote) and a VRF proof, in ascending order of
// age. Without contributions it is empty.
const (
	extensionVersion = 1
	entrySize        = 1 + vrf.ProofSize
	// MaxExtension is the longest vote extension, in bytes.
	MaxExtension = 1 + MaxWindow*entrySize
)

// Contribution is one validator's part in one round.
type Contribution struct {
	Age   uint8
	Proof []byte // 80 bytes, not checked
}

// ParseExtension reads a vote extension.
func ParseExtension(b []byte) ([]Contribution, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > MaxExtension {
		return nil, fmt.Errorf("a vote extension has at most %d bytes, this one %d", MaxExtension, len(b))
	}
	if b[0] != extensionVersion {
		return nil, fmt.Errorf("vote extensions of version %d are unknown", b[0])
	}
	b = b[1:]
	if len(b) == 0 || len(b)%entrySize != 0 {
		return nil, fmt.Errorf("a vote extension has contributions of %d bytes each", entrySize)
	}
	list := make([]Contribution, 0, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		c := Contribution{Age: b[0], Proof: b[1:entrySize]}
		if c.Age >= MaxWindow || len(list) > 0 && c.Age <= list[len(list)-1].Age {
			return nil, errors.New("the contributions of a vote extension stand in ascending order of age, below 16")
		}
		list = append(list, c)
	}
	return list, nil
}

// EncodeExtension writes a vote extension.
func EncodeExtension(list []Contribution) []byte {
	if len(list) == 0 {
		return nil
	}
	b := []byte{extensionVersion}
	for _, c := range list {
		b = append(append(b, c.Age), c.Proof...)
	}
	return b
}
