package groupcommit

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func open(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func put(key string) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte("x"))
	}
}

func TestConcurrentWritersShareCommits(t *testing.T) {
	db := open(t)
	w := New(db)
	const writers = 64
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if err := w.Do(put(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var keys, txid int
	db.View(func(tx *bolt.Tx) error {
		keys, txid = tx.Bucket([]byte("b")).Stats().KeyN, tx.ID()
		return nil
	})
	if keys != writers {
		t.Fatalf("%d keys on disk, want %d", keys, writers)
	}
	if txid > writers/2 {
		t.Errorf("%d transactions for %d writers: they did not share", txid, writers)
	}
}

func TestOneFailureDoesNotSpoilTheOthers(t *testing.T) {
	db := open(t)
	w := New(db)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := w.Do(func(tx *bolt.Tx) error {
				if i == 7 {
					return boom
				}
				return put(fmt.Sprint(i))(tx)
			})
			if (i == 7) != errors.Is(err, boom) {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	w.Close()
	if err := w.Do(put("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	db.View(func(tx *bolt.Tx) error {
		if n := tx.Bucket([]byte("b")).Stats().KeyN; n != 19 {
			t.Errorf("%d keys, want 19", n)
		}
		return nil
	})
}
