// Package keys keeps account keys encrypted on disk.
//
// Start with [Passphrase] and [Open]; [Ring.Signer] gives the key that wallets,
// vouchers and requests sign with, [Ring.PeerKey] the libp2p and VRF identity
// that belongs to it.
//
// Guarantees: a private key is on disk only inside a JWE encrypted with the
// passphrase (the Cosmos SDK's `file` keyring, which other tools of that world
// read); a wrong passphrase is refused before anything is read; files are
// readable by their owner only; no method prints a private key.
package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	files "github.com/99designs/keyring"
	evmcodec "github.com/cosmos/evm/crypto/codec"
	"github.com/cosmos/evm/crypto/ethsecp256k1"
	evmhd "github.com/cosmos/evm/crypto/hd"
	"golang.org/x/crypto/bcrypt"

	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Path is the BIP-44 path of every account: Ethereum's, so that the same words
// give the same account in every EVM wallet.
const Path = "m/44'/60'/0'/0/0"

// MinPassphrase is how many characters a passphrase needs.
const MinPassphrase = 8

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Account is a key by its name.
type Account struct {
	Name    string       `json:"name"`
	Address core.Address `json:"address"`
}

// Ring is an open keyring. It is not for use by several processes at once.
type Ring struct{ kr keyring.Keyring }

// Open opens the keyring in home, or makes an empty one with this passphrase.
func Open(home, passphrase string) (*Ring, error) {
	if len(passphrase) < MinPassphrase {
		return nil, core.Errorf(core.CodeInvalid, "a passphrase has at least %d characters", MinPassphrase)
	}
	dir := filepath.Join(home, "keyring-file")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the keyring's folder cannot be made", Next: "choose another --home", Err: err}
	}
	if err := unlock(filepath.Join(dir, "keyhash"), passphrase); err != nil {
		return nil, err
	}
	db, err := files.Open(files.Config{
		AllowedBackends: []files.BackendType{files.FileBackend}, ServiceName: "koinon",
		FileDir: dir, FilePasswordFunc: files.FixedStringPrompt(passphrase),
	})
	if err != nil {
		return nil, err
	}
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	evmcodec.RegisterInterfaces(registry)
	return &Ring{keyring.NewInMemoryWithKeyring(db, codec.NewProtoCodec(registry), evmhd.EthSecp256k1Option())}, nil
}

// unlock compares the passphrase with the one that the keyring was made with.
func unlock(path, passphrase string) error {
	hash, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		hash, err = bcrypt.GenerateFromPassword([]byte(passphrase), bcrypt.MinCost+4)
		if err != nil {
			return err
		}
		return os.WriteFile(path, hash, 0o600)
	}
	if err != nil {
		return err
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(passphrase)) != nil {
		return &core.Error{Code: core.CodeUnauthorized, Message: "the passphrase is wrong", Next: "set " + Variable + " or try again"}
	}
	return nil
}

// Keyring is the same ring for Cosmos SDK commands.
func (r *Ring) Keyring() keyring.Keyring { return r.kr }

// Create draws a new account and returns its 24 words, which nothing stores.
func (r *Ring) Create(name string) (a core.Address, mnemonic string, err error) {
	if err := r.free(name); err != nil {
		return a, "", err
	}
	record, mnemonic, err := r.kr.NewMnemonic(name, keyring.English, Path, keyring.DefaultBIP39Passphrase, evmhd.EthSecp256k1)
	if err != nil {
		return a, "", err
	}
	a, err = addressOf(record)
	return a, mnemonic, err
}

// Import stores an account given by 64 hex digits or by its mnemonic words. A
// ring holds an account once.
func (r *Ring) Import(name, secret string) (core.Address, error) {
	if err := r.free(name); err != nil {
		return core.Address{}, err
	}
	private, err := privateKey(strings.Fields(secret))
	if err != nil {
		return core.Address{}, err
	}
	key, err := voucher.NewKey(private)
	if err != nil {
		return core.Address{}, notAKey()
	}
	a := key.Address()
	if held, err := r.kr.KeyByAddress(sdk.AccAddress(a[:])); err == nil {
		return core.Address{}, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the account %s is here already, as %s", a, held.Name), Next: "use it by that name"}
	}
	return a, r.kr.ImportPrivKeyHex(name, hex.EncodeToString(private), string(evmhd.EthSecp256k1Type))
}

func notAKey() error {
	return &core.Error{Code: core.CodeInvalid, Message: "a private key is 64 hex digits, or 12 to 24 words"}
}

func privateKey(words []string) ([]byte, error) {
	if len(words) > 1 {
		b, err := evmhd.EthSecp256k1.Derive()(strings.Join(words, " "), keyring.DefaultBIP39Passphrase, Path)
		if err != nil {
			return nil, &core.Error{Code: core.CodeInvalid, Message: "these are not valid mnemonic words", Next: "check their spelling and order"}
		}
		return b, nil
	}
	b, err := hex.DecodeString(strings.TrimPrefix(strings.Join(words, ""), "0x"))
	if err != nil {
		return nil, notAKey()
	}
	return b, nil
}

func (r *Ring) free(name string) error {
	if !validName.MatchString(name) {
		return core.Errorf(core.CodeInvalid, "a key's name has letters, digits, dots and dashes, at most 64")
	}
	if _, err := r.kr.Key(name); err == nil {
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("a key named %s exists", name), Next: "choose another name"}
	}
	return nil
}

// Has reports whether a key of this name exists.
func (r *Ring) Has(name string) bool { _, err := r.kr.Key(name); return err == nil }

// Delete removes a key for good.
func (r *Ring) Delete(name string) error {
	if !r.Has(name) {
		return unknown(name)
	}
	return r.kr.Delete(name)
}

// List returns all accounts by name.
func (r *Ring) List() ([]Account, error) {
	records, err := r.kr.List()
	if err != nil {
		return nil, err
	}
	var out []Account
	for _, record := range records {
		a, err := addressOf(record)
		if err != nil {
			return nil, err
		}
		out = append(out, Account{record.Name, a})
	}
	slices.SortFunc(out, func(a, b Account) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Signer takes the account's key into memory.
func (r *Ring) Signer(name string) (*voucher.Key, error) {
	b, err := r.secret(name)
	if err != nil {
		return nil, err
	}
	return voucher.NewKey(b)
}

// PeerKey derives the account's ed25519 key for libp2p and the VRF: HKDF-SHA256
// of the private key with the information string "koinon/peer-key/1". Backing
// up the account backs it up too.
func (r *Ring) PeerKey(name string) (ed25519.PrivateKey, error) {
	b, err := r.secret(name)
	if err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, b, nil, "koinon/peer-key/1", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func (r *Ring) secret(name string) ([]byte, error) {
	record, err := r.kr.Key(name)
	if err != nil {
		return nil, unknown(name)
	}
	local := record.GetLocal()
	if local == nil || local.PrivKey == nil {
		return nil, core.Errorf(core.CodeInvalid, "the key %s is not on this machine", name)
	}
	key, ok := local.PrivKey.GetCachedValue().(*ethsecp256k1.PrivKey)
	if !ok {
		return nil, core.Errorf(core.CodeInvalid, "the key %s is not an eth_secp256k1 key", name)
	}
	return key.Key, nil
}

func unknown(name string) error {
	return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("there is no key named %q", name), Next: "koinon wallet list shows the names"}
}

func addressOf(r *keyring.Record) (a core.Address, err error) {
	b, err := r.GetAddress()
	if err == nil && len(b) != len(a) {
		err = core.Errorf(core.CodeInvalid, "the key %s is not an eth_secp256k1 key", r.Name)
	}
	if err == nil {
		a = core.Address(b)
	}
	return a, err
}
