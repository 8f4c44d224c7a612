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

	"github.com/cometbft/cometbft/privval"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/vrf"
)

// BeaconFile holds the hexadecimal ed25519 seed by which a validator contributes
// to the randomness beacon.
func BeaconFile(home string) string { return filepath.Join(home, "config", "beacon.key") }

// BeaconKey reads that key. It is nil where there is none.
func BeaconKey(home string) (*vrf.Key, error) {
	raw, err := os.ReadFile(BeaconFile(home))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the beacon key: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err == nil && len(seed) != ed25519.SeedSize {
		err = fmt.Errorf("%d bytes instead of %d", len(seed), ed25519.SeedSize)
	}
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the beacon key " + BeaconFile(home) + " cannot be read", Next: "restore it from a backup, or remove it, and the validator contributes no randomness", Err: err}
	}
	return vrf.NewKey(ed25519.NewKeyFromSeed(seed))
}

// initBeacon makes the key where it is missing.
func initBeacon(home string) error {
	if key, err := BeaconKey(home); err != nil || key != nil {
		return err
	}
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed)
	if err := os.WriteFile(BeaconFile(home), []byte(hex.EncodeToString(seed)+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write the beacon key: %w", err)
	}
	return nil
}

func loadBeacon(home string, signer *privval.FilePV) (*app.BeaconKey, error) {
	key, err := BeaconKey(home)
	if err != nil || key == nil {
		return nil, err
	}
	return &app.BeaconKey{VRF: key, Public: key.PublicKey(), Consensus: signer.GetAddress()}, nil
}
