package apikey

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/internal/groupcommit"
)

var (
	keyBucket   = []byte("keys")  // id -> stored
	usageBucket = []byte("usage") // id, day, model, with zeros between -> row
)

// Options tune a [Book]; zero fields take the defaults named here.
type Options struct {
	// Now is the clock. Default time.Now.
	Now func() time.Time

	noSync bool
}

// Book keeps keys and what they spend in one file. All methods are safe for
// concurrent use.
type Book struct {
	opt    Options
	db     *bolt.DB
	writer *groupcommit.Writer

	making sync.Mutex // one key is made or revoked at a time
	mu     sync.Mutex // never held while the disk is waited for
	byID   map[string]*account
	byHash map[core.Hash]*account
}

// account is a key in memory, where its money is counted.
type account struct {
	Key
	rows  map[place]*row
	spent core.Amount
	held  core.Amount
}

// place is where usage is written down.
type place struct{ day, model string }

// row is the usage of one model by one key on one day.
type row struct {
	Requests uint64      `json:"requests"`
	Input    uint64      `json:"input_tokens"`
	Output   uint64      `json:"output_tokens"`
	Cost     core.Amount `json:"cost"`
}

// stored is a key on disk.
type stored struct {
	Key
	Hash core.Hash `json:"hash"`
}

// Open opens the book at path, or makes one.
func Open(path string, o Options) (*Book, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	unusable := func(err error) error {
		return &core.Error{Code: core.CodeUnavailable, Message: "the keys in " + path + " cannot be opened", Next: "stop the other process that uses them, or check the file's rights", Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, unusable(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, NoSync: o.noSync, NoGrowSync: o.noSync, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, unusable(err)
	}
	b := &Book{opt: o, db: db, byID: map[string]*account{}, byHash: map[core.Hash]*account{}}
	if err := db.Update(b.load); err != nil {
		db.Close()
		return nil, unusable(err)
	}
	b.writer = groupcommit.New(db)
	return b, nil
}

func (b *Book) load(tx *bolt.Tx) error {
	for _, name := range [][]byte{keyBucket, usageBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	err := tx.Bucket(keyBucket).ForEach(func(_, v []byte) error {
		var s stored
		if err := json.Unmarshal(v, &s); err != nil {
			return err
		}
		s.Key.hash = s.Hash
		b.put(s.Key)
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(usageBucket).ForEach(func(k, v []byte) error {
		parts := bytes.SplitN(k, []byte{0}, 3)
		r := &row{}
		if err := json.Unmarshal(v, r); err != nil || len(parts) != 3 {
			return fmt.Errorf("the usage %q is damaged: %w", k, err)
		}
		a := b.byID[string(parts[0])]
		if a == nil {
			return fmt.Errorf("usage of the unknown key %q", parts[0])
		}
		a.rows[place{string(parts[1]), string(parts[2])}] = r
		a.spent = a.spent.Add(r.Cost)
		return nil
	})
}

func (b *Book) put(k Key) *account {
	a := &account{Key: k, rows: map[place]*row{}}
	b.byID[k.ID], b.byHash[k.hash] = a, a
	return a
}

// Close ends all writing.
func (b *Book) Close() error {
	b.writer.Close()
	return b.db.Close()
}

// Used reports whether a key was ever made, revoked ones included.
func (b *Book) Used() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.byID) > 0
}

// Create makes a key and returns its secret, which is kept nowhere.
func (b *Book) Create(t Terms) (secret string, k Key, err error) {
	if err := t.check(); err != nil {
		return "", Key{}, err
	}
	secret, hash := newSecret()
	b.making.Lock()
	defer b.making.Unlock()
	now := b.opt.Now().Unix()
	if t.Expires != 0 && t.Expires <= now {
		return "", Key{}, &core.Error{Code: core.CodeInvalid, Param: "expires", Message: "the key would have expired already", Next: "give a later time"}
	}
	k = Key{ID: idOf(hash), Terms: t, Created: now, hash: hash}
	b.mu.Lock()
	n, taken := len(b.byID), b.byID[k.ID] != nil
	b.mu.Unlock()
	switch {
	case n >= MaxKeys:
		return "", Key{}, core.Errorf(core.CodeTooLarge, "there are %d keys, more are not kept", MaxKeys)
	case taken:
		return "", Key{}, core.Errorf(core.CodeInternal, "two keys have the same id; try again")
	}
	if err := b.save(k); err != nil {
		return "", Key{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(k)
	return secret, k, nil
}

func (b *Book) save(k Key) error {
	v, err := json.Marshal(stored{k, k.hash})
	if err != nil {
		return err
	}
	return b.writer.Do(func(tx *bolt.Tx) error { return tx.Bucket(keyBucket).Put([]byte(k.ID), v) })
}

// find looks a key up by its id or, where only one has it, its name.
func (b *Book) find(id string) (*account, error) {
	if a := b.byID[id]; a != nil {
		return a, nil
	}
	var found []*account
	for _, a := range b.byID {
		if a.Name == id && id != "" {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return nil, &core.Error{Code: core.CodeNotFound, Message: fmt.Sprintf("there is no key %.100q", id), Next: "koinon key list shows all"}
	case 1:
		return found[0], nil
	}
	return nil, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%d keys have the name %.100q", len(found), id), Next: "say the id: koinon key list"}
}

// Revoke ends a key, named by id or name. Answers under way end, too, when they
// are next paid.
func (b *Book) Revoke(id string) (Key, error) {
	b.making.Lock()
	defer b.making.Unlock()
	b.mu.Lock()
	a, err := b.find(id)
	var k Key
	if err == nil {
		k = a.Key
	}
	b.mu.Unlock()
	if err != nil || k.Revoked != 0 {
		return k, err
	}
	k.Revoked = b.opt.Now().Unix()
	if err := b.save(k); err != nil {
		return Key{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.Key = k
	return k, nil
}

// List returns all keys, the oldest first.
func (b *Book) List() ([]Standing, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []Standing{}
	for _, a := range b.byID {
		out = append(out, b.standing(a))
	}
	slices.SortFunc(out, func(x, y Standing) int {
		if x.Created != y.Created {
			return int(x.Created - y.Created)
		}
		return strings.Compare(x.ID, y.ID)
	})
	return out, nil
}

func (b *Book) standing(a *account) Standing {
	return Standing{a.Key, a.spent, a.on(b.today()), a.held}
}

func (b *Book) today() string { return b.opt.Now().UTC().Format(time.DateOnly) }

// on is what was spent on a day.
func (a *account) on(day string) (sum core.Amount) {
	for p, r := range a.rows {
		if p.day == day {
			sum = sum.Add(r.Cost)
		}
	}
	return sum
}

// Line is a line of a statement: one model on one day.
type Line struct {
	Day   string `json:"day"` // UTC
	Model string `json:"model"`
	row
}

// Statement is what a key, named by id or name, has used.
type Statement struct {
	Standing
	Lines []Line `json:"lines"`
}

// Statement returns a key's usage by day and model, the oldest first.
func (b *Book) Statement(id string) (Statement, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, err := b.find(id)
	if err != nil {
		return Statement{}, err
	}
	s := Statement{b.standing(a), []Line{}}
	for p, r := range a.rows {
		s.Lines = append(s.Lines, Line{p.day, p.model, *r})
	}
	slices.SortFunc(s.Lines, func(x, y Line) int {
		if x.Day != y.Day {
			return strings.Compare(x.Day, y.Day)
		}
		return strings.Compare(x.Model, y.Model)
	})
	return s, nil
}

// Admit finds the key with this secret. It fails with CodeUnauthorized.
func (b *Book) Admit(secret string) (*Bearer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.byHash[sha256.Sum256([]byte(secret))]
	if a == nil {
		return nil, &core.Error{Code: core.CodeUnauthorized, Message: "the API key is not known here", Next: "ask the gateway's owner for one: koinon key create"}
	}
	if why := a.dead(b.opt.Now()); why != "" {
		return nil, &core.Error{Code: core.CodeUnauthorized, Message: "the API key " + why, Next: "ask the gateway's owner for another one"}
	}
	return &Bearer{b, a}, nil
}
