// Package apikey lets a gateway's owner give others keys with budgets, so that a
// program needs no wallet to use the network.
//
// Start with [Open], [Book.Create] and, where a call comes in, [Book.Admit]; what
// an answer may cost is set aside by [Bearer.Hold] and leaves it by [Hold.Spend].
// [Serve] and [Dial] let the owner's command line reach the book of a gateway that
// runs.
//
// Guarantees: all that a key ever spends is within its budget, and all of a day
// (UTC) within its day's, whatever is asked at once; what was spent is on disk
// before the money leaves, so that a crash forgets none of it; a secret is stored
// as its hash alone.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Prefix begins every secret, so that one is known where it is seen.
const Prefix = "koinon_"

// Limits of a book.
const (
	MaxKeys   = 10_000
	MaxModels = 64
	maxName   = 100 // bytes
)

// Terms are what a key may do. Zero amounts and times set no bound; no models
// means all.
type Terms struct {
	Name    string      `json:"name"`
	Budget  core.Amount `json:"budget"`  // in all, akoin
	PerDay  core.Amount `json:"per_day"` // of one day (UTC), akoin
	Models  []string    `json:"models,omitempty"`
	Expires int64       `json:"expires,omitempty"` // Unix seconds
}

func (t Terms) check() error {
	bad := func(param, cause string) error {
		return &core.Error{Code: core.CodeInvalid, Param: param, Message: cause, Next: "koinon key create --help"}
	}
	switch {
	case len(t.Name) > maxName || strings.ContainsFunc(t.Name, func(r rune) bool { return r < ' ' }):
		return bad("name", fmt.Sprintf("a key's name has up to %d bytes and no control characters", maxName))
	case len(t.Models) > MaxModels || slices.Contains(t.Models, ""):
		return bad("models", fmt.Sprintf("a key names up to %d models", MaxModels))
	case t.Expires < 0:
		return bad("expires", "a key cannot expire before it is made")
	}
	return nil
}

// Key is a key as it is kept and shown; nothing of its secret can be told from it.
type Key struct {
	ID string `json:"id"`
	Terms
	Created int64 `json:"created"`           // Unix seconds
	Revoked int64 `json:"revoked,omitempty"` // Unix seconds

	hash core.Hash // of the secret
}

// Standing is a key with what it has spent.
type Standing struct {
	Key
	Spent core.Amount `json:"spent"` // in all
	Today core.Amount `json:"today"`
	Held  core.Amount `json:"held"` // what answers under way may still cost
}

// dead says why a key opens nothing, or "".
func (k *Key) dead(now time.Time) string {
	switch {
	case k.Revoked != 0:
		return "was revoked"
	case k.Expires != 0 && now.Unix() >= k.Expires:
		return "has expired"
	}
	return ""
}

// Allows reports whether the key may ask a model.
func (k *Key) Allows(model string) bool {
	return len(k.Models) == 0 || slices.Contains(k.Models, model)
}

func newSecret() (secret string, hash core.Hash) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret = Prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, sha256.Sum256([]byte(secret))
}

// idOf names a key by the beginning of its hash.
func idOf(h core.Hash) string { return hex.EncodeToString(h[:6]) }
