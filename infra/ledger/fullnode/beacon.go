package fullnode

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

// BeaconFile holds the keys by which a validator contributes to the randomness
// beacon: a hexadecimal ed25519 seed a line. The chain knows which one it
// expects.
func BeaconFile(home string) string { return filepath.Join(home, "config", "beacon.key") }

// BeaconKeys reads them, the newest last.
func BeaconKeys(home string) ([]*vrf.Key, error) {
	raw, err := os.ReadFile(BeaconFile(home))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the beacon keys: %w", err)
	}
	var keys []*vrf.Key
	for line := range strings.Lines(string(raw)) {
		seed, err := hex.DecodeString(strings.TrimSpace(line))
		if err == nil && len(seed) != ed25519.SeedSize {
			err = fmt.Errorf("%d bytes instead of %d", len(seed), ed25519.SeedSize)
		}
		if err != nil {
			return nil, &core.Error{Code: core.CodeInvalid, Message: BeaconFile(home) + " is damaged", Next: "restore it from a backup; without the file the validator contributes no randomness", Err: err}
		}
		key, err := vrf.NewKey(ed25519.NewKeyFromSeed(seed))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// AddBeaconKey makes another key and returns it. It does not touch the others.
func AddBeaconKey(home string) (*vrf.Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed)
	f, err := os.OpenFile(BeaconFile(home), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(hex.EncodeToString(seed) + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the beacon key: %w", err)
	}
	return vrf.NewKey(ed25519.NewKeyFromSeed(seed))
}

// BeaconKey is the newest key, made where there is none.
func BeaconKey(home string) (*vrf.Key, error) {
	keys, err := BeaconKeys(home)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return AddBeaconKey(home)
	}
	return keys[len(keys)-1], nil
}
