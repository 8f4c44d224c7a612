package fullnode

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	cmtcfg "github.com/cometbft/cometbft/config"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cosmos/evm/crypto/ethsecp256k1"

	"github.com/koinon-network/koinon/core"
)

// Init makes the folders and, where they are missing, the keys of a node. A
// validator's key without the record of its last signature is taken for new.
func Init(home string) (*privval.FilePV, p2p.ID, error) {
	c := cmtcfg.DefaultConfig()
	c.SetRoot(home)
	for _, d := range []string{"config", "data"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
			return nil, "", &core.Error{Code: core.CodeInvalid, Message: "the node's folder cannot be made", Next: "choose another --home", Err: err}
		}
	}
	signer, err := initSigner(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())
	if err != nil {
		return nil, "", err
	}
	if _, err := BeaconKey(home); err != nil {
		return nil, "", err
	}
	key, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return nil, "", fmt.Errorf("cannot make the node's key: %w", err)
	}
	return signer, key.ID(), nil
}

func initSigner(keyFile, stateFile string) (*privval.FilePV, error) {
	if _, err := os.Stat(keyFile); errors.Is(err, os.ErrNotExist) {
		signer := privval.GenFilePV(keyFile, stateFile)
		signer.Save()
		return signer, nil
	}
	if err := readable(keyFile, new(privval.FilePVKey)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(stateFile); errors.Is(err, os.ErrNotExist) {
		signer := privval.LoadFilePVEmptyState(keyFile, stateFile)
		signer.Save()
		return signer, nil
	}
	if err := readable(stateFile, new(privval.FilePVLastSignState)); err != nil {
		return nil, err
	}
	return privval.LoadFilePV(keyFile, stateFile), nil
}

// loadSigner reads a validator's key and what it signed last, both of which
// must be there: a validator that forgets may sign twice and be slashed.
func loadSigner(c *cmtcfg.Config) (*privval.FilePV, error) {
	if err := readable(c.PrivValidatorKeyFile(), new(privval.FilePVKey)); err != nil {
		return nil, err
	}
	if err := readable(c.PrivValidatorStateFile(), new(privval.FilePVLastSignState)); err != nil {
		return nil, err
	}
	return privval.LoadFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()), nil
}

// readable reports what is wrong with a file, because CometBFT ends the
// process over it.
func readable(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err == nil {
		err = cmtjson.Unmarshal(raw, v)
	}
	if err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: "the validator's file " + path + " cannot be read", Next: "restore it from a backup", Err: err}
	}
	return nil
}

// OperatorFile holds the hexadecimal secp256k1 key that owns a validator's
// stake, where the node itself began the chain.
func OperatorFile(home string) string { return filepath.Join(home, "config", "operator.key") }

// InitOperator makes that key and returns its account.
func InitOperator(home string) (core.Address, error) {
	key, err := ethsecp256k1.GenerateKey()
	if err != nil {
		return core.Address{}, fmt.Errorf("cannot make the operator's key: %w", err)
	}
	if err := os.WriteFile(OperatorFile(home), []byte(hex.EncodeToString(key.Key)+"\n"), 0o600); err != nil {
		return core.Address{}, fmt.Errorf("cannot write the operator's key: %w", err)
	}
	return core.Address(key.PubKey().Address()), nil
}
