package p2p

import (
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Short names for the host's plumbing.
type (
	multistreamConn = io.ReadWriteCloser
	protocolID      = protocol.ID
)

// doors counts what each peer has open and how fast it opens more.
type doors struct {
	open  int     // streams at a time
	rate  float64 // new streams per second
	mu    sync.Mutex
	peers map[peer.ID]*visitor
	sweep time.Time
}

type visitor struct {
	open   int
	budget float64
	seen   time.Time
}

func newDoors(c Config) *doors {
	return &doors{open: c.PeerStreams, rate: c.PeerRate, peers: map[peer.ID]*visitor{}, sweep: time.Now()}
}

// enter admits one more stream of the peer, which must leave again. The burst
// is two seconds' worth of the rate.
func (d *doors) enter(p peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.forget(now)
	v := d.peers[p]
	if v == nil {
		v = &visitor{budget: 2 * d.rate}
		d.peers[p] = v
	} else {
		v.budget = min(2*d.rate, v.budget+d.rate*now.Sub(v.seen).Seconds())
	}
	v.seen = now
	if v.open >= d.open || v.budget < 1 {
		return false
	}
	v.open++
	v.budget--
	return true
}

func (d *doors) leave(p peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.peers[p]; v != nil {
		v.open--
	}
}

// forget drops peers that have nothing open and whose budget is full again.
func (d *doors) forget(now time.Time) {
	if now.Sub(d.sweep) < 10*time.Second {
		return
	}
	d.sweep = now
	for p, v := range d.peers {
		if v.open == 0 && now.Sub(v.seen) > 5*time.Second {
			delete(d.peers, p)
		}
	}
}
