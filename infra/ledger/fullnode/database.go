package fullnode

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/koinon-network/koinon/infra/ledger/app"
)

// openApp opens the state. A process killed in its first commit leaves stores
// that belong to no block, which genesis would trip over: they are cleared.
func openApp(dir string, o app.Options) (*app.App, error) {
	for {
		db, err := dbm.NewGoLevelDBWithOpts("application", dir, levelOptions(4))
		if err != nil {
			return nil, fmt.Errorf("cannot open the state in %s: %w", dir, err)
		}
		used, err := nonEmpty(db)
		if err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("cannot read the state in %s: %w", dir, err)
		}
		o.DB = db
		a, err := app.New(o)
		if err != nil {
			_ = db.Close()
			return nil, err
		}
		if !used || a.LastBlockHeight() > 0 {
			return a, nil
		}
		if err := a.Close(); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(filepath.Join(dir, "application.db")); err != nil {
			return nil, fmt.Errorf("cannot clear the unfinished state in %s: %w", dir, err)
		}
	}
}

func nonEmpty(db dbm.DB) (bool, error) {
	it, err := db.Iterator(nil, nil)
	if err != nil {
		return false, err
	}
	defer it.Close()
	return it.Valid(), it.Error()
}

// lateDB ignores the engine's Close, which comes while its own goroutines,
// some of which sleep for seconds, may still read. Once the node has shut it,
// it reads as empty.
type lateDB struct {
	cmtdb.DB
	gone atomic.Bool
}

func (*lateDB) Close() error { return nil }

func (d *lateDB) shut() error { d.gone.Store(true); return d.DB.Close() }

func (d *lateDB) Get(key []byte) ([]byte, error) {
	b, err := d.DB.Get(key)
	if err != nil && d.gone.Load() {
		return nil, nil
	}
	return b, err
}

func (d *lateDB) Has(key []byte) (bool, error) {
	ok, err := d.DB.Has(key)
	if err != nil && d.gone.Load() {
		return false, nil
	}
	return ok, err
}

func (n *Node) openDB(c *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := cmtdb.NewGoLevelDBWithOpts(c.ID, c.Config.DBDir(), levelOptions(1))
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", c.ID, c.Config.DBDir(), err)
	}
	late := &lateDB{DB: db}
	n.dbs = append(n.dbs, late)
	return late, nil
}

// levelOptions keeps a database's memory at about mib megabytes times three.
func levelOptions(mib int) *opt.Options {
	return &opt.Options{
		BlockCacheCapacity: mib * opt.MiB, WriteBuffer: mib * opt.MiB, OpenFilesCacheCapacity: 32,
		Filter: filter.NewBloomFilter(10),
	}
}
