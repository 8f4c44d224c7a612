package keys

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/koinon-network/koinon/core"
)

// Variable is the environment variable that may hold the passphrase.
const Variable = "KOINON_PASSPHRASE"

const passphraseFile = "passphrase"

// Passphrase finds the passphrase of the keyring in home: in the environment,
// in the file that [DevnetPassphrase] made, or by asking at the terminal.
func Passphrase(home string) (string, error) {
	if p := os.Getenv(Variable); p != "" {
		return p, nil
	}
	b, err := os.ReadFile(filepath.Join(home, passphraseFile))
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", &core.Error{Code: core.CodeUnauthorized, Message: "the keyring needs a passphrase and there is no terminal to ask at", Next: "set " + Variable}
	}
	_, err = os.Stat(filepath.Join(home, "keyring-file", "keyhash"))
	return ask(errors.Is(err, os.ErrNotExist))
}

// ask reads a passphrase without echo, a new one twice.
func ask(fresh bool) (string, error) {
	prompt := func(text string) (string, error) {
		os.Stderr.WriteString(text)
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		os.Stderr.WriteString("\n")
		return string(b), err
	}
	if !fresh {
		return prompt("Passphrase: ")
	}
	p, err := prompt("New passphrase: ")
	if err != nil {
		return "", err
	}
	again, err := prompt("The same again: ")
	if err == nil && p != again {
		err = core.Errorf(core.CodeInvalid, "the passphrases differ")
	}
	return p, err
}

// DevnetPassphrase is [Passphrase] for a home that nobody guards: instead of
// asking it draws a passphrase and keeps it in a file of mode 0600 in home.
func DevnetPassphrase(home string) (string, error) {
	path := filepath.Join(home, passphraseFile)
	_, err := os.Stat(path)
	if os.Getenv(Variable) != "" || err == nil {
		return Passphrase(home)
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", err
	}
	p := rand.Text()
	return p, os.WriteFile(path, []byte(p+"\n"), 0o600)
}
