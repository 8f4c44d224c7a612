package keys

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

const (
	passphrase = "correct horse"
	// From BIP-39's test vectors; the account is what every EVM wallet shows.
	words   = "test test test test test test test test test test test junk"
	account = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
	secret  = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
)

func open(t *testing.T, home string) *Ring {
	t.Helper()
	r, err := Open(home, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWordsAndHexGiveTheEthereumAccount(t *testing.T) {
	r := open(t, t.TempDir())
	given := map[string]string{"words": words, "hex": secret, "prefixed": "0x" + secret}
	for name, s := range given {
		r = open(t, t.TempDir())
		a, err := r.Import(name, s)
		if err != nil || a.String() != account {
			t.Errorf("%s: %s, %v", name, a, err)
		}
		for again, s := range given {
			if _, err := r.Import("second", s); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "as "+name) {
				t.Errorf("%s after %s: %v", again, name, err)
			}
		}
	}
	for _, s := range []string{"", "12", "test test junk", strings.Repeat("0", 64), strings.Repeat("z", 64)} {
		if _, err := r.Import("bad", s); core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestKeysSurviveAndStayEncrypted(t *testing.T) {
	home := t.TempDir()
	a, mnemonic, err := open(t, home).Create("alice")
	if err != nil || len(strings.Fields(mnemonic)) != 24 {
		t.Fatalf("%v, %d words", err, len(strings.Fields(mnemonic)))
	}
	if _, err := open(t, home).Import("known", secret); err != nil {
		t.Fatal(err)
	}
	r := open(t, home)
	s, err := r.Signer("alice")
	if err != nil || s.Address() != a {
		t.Fatalf("%v, %v", s, err)
	}
	digest := core.Hash{1}
	sig, _ := s.Sign(digest)
	if err := voucher.VerifyDigest(digest, sig, a); err != nil {
		t.Error(err)
	}
	list, err := r.List()
	if err != nil || len(list) != 2 || list[0] != (Account{"alice", a}) {
		t.Errorf("%v, %v", list, err)
	}
	raw := []byte{0xac, 0x09, 0x74, 0xbe, 0xc3, 0x9a, 0x17, 0xe3}
	_ = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, _ := os.ReadFile(path)
		if bytes.Contains(b, raw) || bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s contains the private key", path)
		}
		if i, _ := d.Info(); i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, i.Mode())
		}
		return nil
	})
}

func TestWrongPassphraseIsRefused(t *testing.T) {
	home := t.TempDir()
	open(t, home)
	if _, err := Open(home, "incorrect horse"); core.CodeOf(err) != core.CodeUnauthorized {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := Open(t.TempDir(), "short"); core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("short passphrase: %v", err)
	}
}

func TestPeerKeyIsDerived(t *testing.T) {
	r := open(t, t.TempDir())
	if _, err := r.Import("a", words); err != nil {
		t.Fatal(err)
	}
	elsewhere := open(t, t.TempDir())
	if _, err := elsewhere.Import("b", secret); err != nil {
		t.Fatal(err)
	}
	a, err := r.PeerKey("a")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := elsewhere.PeerKey("b"); !a.Equal(b) {
		t.Error("the same account has two peer keys")
	}
	if _, _, err := r.Create("c"); err != nil {
		t.Fatal(err)
	}
	if c, _ := r.PeerKey("c"); a.Equal(c) {
		t.Error("two accounts have one peer key")
	}
}

func TestNamesAreUniqueAndPlain(t *testing.T) {
	r := open(t, t.TempDir())
	if _, _, err := r.Create("alice"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "", "../alice", "a b", strings.Repeat("a", 65)} {
		if _, _, err := r.Create(name); core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := r.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Signer("alice"); core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("deleted key: %v", err)
	}
}

func TestPassphraseSources(t *testing.T) {
	home := t.TempDir()
	t.Setenv(Variable, "")
	a, err := DevnetPassphrase(home)
	if err != nil || len(a) < MinPassphrase {
		t.Fatalf("%q, %v", a, err)
	}
	if b, err := Passphrase(home); err != nil || a != b {
		t.Errorf("%q, %v", b, err)
	}
	if i, err := os.Stat(filepath.Join(home, passphraseFile)); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i, err)
	}
	t.Setenv(Variable, "from outside")
	if b, _ := DevnetPassphrase(home); b != "from outside" {
		t.Errorf("%q", b)
	}
}
