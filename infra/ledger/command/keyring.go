package command

import (
	"github.com/cosmos/evm/crypto/hd"

	"github.com/cosmos/cosmos-sdk/crypto/keyring"
)

// keyringOption makes the keyring hold the one kind of key the chain has.
func keyringOption(o *keyring.Options) {
	o.SupportedAlgos = keyring.SigningAlgoList{hd.EthSecp256k1}
	o.SupportedAlgosLedger = nil
}
