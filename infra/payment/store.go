package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
	"github.com/koinon-network/koinon/internal/groupcommit"
)

var metaBucket = []byte("meta")

// store is a bbolt file that belongs to one account on one chain.
type store struct {
	db     *bolt.DB
	writer *groupcommit.Writer
}

// owner is what a file is bound to; opening it as somebody else is an error.
type owner struct {
	Role    string       `json:"role"`
	Account core.Address `json:"account"`
	Signer  core.Address `json:"signer"`
	ChainID uint64       `json:"evm_chain_id"`
}

func openStore(path string, who owner, noSync bool, buckets ...[]byte) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the payment store's folder cannot be made", Err: err}
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoSync: noSync, NoGrowSync: noSync, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("the payment store %s cannot be opened", path),
			Next: "stop the other process that uses it, or check the file's rights", Err: err}
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range append(buckets, metaBucket) {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return claimFile(tx.Bucket(metaBucket), path, who)
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &store{db, groupcommit.New(db)}, nil
}

func claimFile(meta *bolt.Bucket, path string, who owner) error {
	key := []byte("owner")
	if b := meta.Get(key); b != nil {
		var old owner
		if err := json.Unmarshal(b, &old); err != nil || old != who {
			return &core.Error{Code: core.CodeUnavailable,
				Message: fmt.Sprintf("the payment store %s belongs to account %s on chain %d, not to %s on chain %d", path, old.Account, old.ChainID, who.Account, who.ChainID),
				Next:    "use another home folder for this account"}
		}
		return nil
	}
	return putJSON(meta, key, who)
}

func (s *store) close() error {
	s.writer.Close()
	return s.db.Close()
}

// each decodes every value of a bucket into a new T.
func each[T any](s *store, bucket []byte, visit func(key []byte, v T)) error {
	return s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, b []byte) error {
			var v T
			if err := json.Unmarshal(b, &v); err != nil {
				return fmt.Errorf("payment store: bad record %x: %w", k, err)
			}
			visit(k, v)
			return nil
		})
	})
}

func putJSON(b *bolt.Bucket, key []byte, v any) error {
	js, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put(key, js)
}

// domainOf asks the chain for the domain that vouchers are signed in.
func domainOf(ctx context.Context, chain core.Chain) (uint64, voucher.Domain, error) {
	st, err := chain.Status(ctx)
	if err != nil {
		return 0, voucher.Domain{}, &core.Error{Code: core.CodeUnavailable, Message: "the chain does not answer", Next: "check that the node runs", Err: err}
	}
	return st.EVMChainID, voucher.NewDomain(st.EVMChainID), nil
}

func idHash(key []byte) (h core.Hash) { copy(h[:], key); return h }
