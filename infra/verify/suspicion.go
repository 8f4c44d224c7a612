package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
)

// Alpha bounds the probability that an honest provider is ever found implausible
// by one auditor, over all its models and all time.
const Alpha = 1e-6

// Suspicion is what an auditor knows of one provider's answers of the
// statistical tier for one model, tested against one set of calibrations.
type Suspicion struct {
	Provider core.Address `json:"provider"`
	Model    core.ModelID `json:"model"`
	// Number counts the tests of this provider: the n-th may err with a
	// probability of Alpha/(n(n+1)), so that all together err with Alpha.
	Number uint64 `json:"number"`
	// Calibrations are those accepted, in rising order; the provider is implausible
	// when no one of them explains its answers.
	Calibrations []core.Hash `json:"calibrations"`
	Processes    []Process   `json:"processes"`
	Answers      uint64      `json:"answers"`
	Tokens       uint64      `json:"tokens"`
	// Evidence chains the receipts in the order in which they were weighed.
	Evidence core.Hash `json:"evidence"`
	// Found is when the test ended against the provider; nil before.
	Found *Finding `json:"found,omitempty"`
}

// Finding is the end of a test.
type Finding struct {
	Receipt core.ReceiptID `json:"receipt"` // the last one weighed
	Time    int64          `json:"time"`    // Unix seconds
}

// Weight is how strongly all calibrations speak against the provider: the
// logarithm of the smallest peak of their processes, in nats.
func (s *Suspicion) Weight() float64 {
	least := math.Inf(1)
	for i := range s.Processes {
		least = min(least, s.Processes[i].Peak)
	}
	return least
}

// Limit is the weight at which the test ends.
func (s *Suspicion) Limit() float64 {
	n := float64(s.Number)
	return math.Log(n * (n + 1) / Alpha)
}

// weigh bets on one more answer.
func (s *Suspicion) weigh(all []*odds, id core.ReceiptID, standings []core.Standing, seeded bool, now time.Time) {
	n := 0
	for i := range s.Processes {
		n = max(n, s.Processes[i].play(all[i], standings, seeded))
	}
	if n == 0 {
		return
	}
	s.Answers++
	s.Tokens += uint64(n)
	s.Evidence = sha256.Sum256(append(s.Evidence[:], id[:]...))
	if s.Found == nil && s.Weight() >= s.Limit() {
		s.Found = &Finding{Receipt: id, Time: now.Unix()}
	}
}

var (
	suspicionBucket = []byte("suspicions") // provider ‖ model ‖ digest of the calibrations -> JSON
	weighedKey      = []byte("weighed")    // in the meta bucket: the last order looked at
)

// yardstick is the set of calibrations that an auditor accepts for a model.
type yardstick struct {
	ids  []core.Hash
	odds []*odds
}

func newYardstick(cs []*Calibration) *yardstick {
	cs = slices.Clone(cs)
	slices.SortFunc(cs, func(a, b *Calibration) int { x, y := a.ID(), b.ID(); return bytes.Compare(x[:], y[:]) })
	y := &yardstick{}
	for _, c := range cs {
		if id := c.ID(); !slices.Contains(y.ids, id) {
			y.ids, y.odds = append(y.ids, id), append(y.odds, c.odds())
		}
	}
	return y
}

func (y *yardstick) key(provider core.Address, model core.ModelID) []byte {
	h := sha256.New()
	for _, id := range y.ids {
		h.Write(id[:])
	}
	return h.Sum(slices.Concat(provider[:], model[:]))
}

// weigh adds an answer to its provider's suspicion and notes how far the
// auditor has come, in one transaction: after a crash an answer counts once. It
// returns the suspicion, and whether this answer ended the test.
func (a *Archive) weigh(order uint64, y *yardstick, ev *core.Evidence, standings []core.Standing) (s Suspicion, found bool, err error) {
	r := &ev.Receipt
	err = a.writer.Do(func(tx *bolt.Tx) error {
		if s, err = suspicionOf(tx, y, r.Provider, r.Model); err != nil {
			return err
		}
		before := s.Found
		if before == nil {
			s.weigh(y.odds, r.Digest(), standings, seeded(ev), a.opt.Now())
		}
		found = before == nil && s.Found != nil
		js, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := tx.Bucket(suspicionBucket).Put(y.key(r.Provider, r.Model), js); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(weighedKey, number(order))
	})
	return s, found, a.failed(err)
}

// suspicionOf loads a suspicion, or starts the provider's next one.
func suspicionOf(tx *bolt.Tx, y *yardstick, provider core.Address, model core.ModelID) (s Suspicion, err error) {
	b := tx.Bucket(suspicionBucket)
	if js := b.Get(y.key(provider, model)); js != nil {
		if err := json.Unmarshal(js, &s); err != nil {
			return s, fmt.Errorf("a stored suspicion: %w", err)
		}
		if len(s.Processes) != len(y.ids) || s.Number == 0 {
			return s, fmt.Errorf("a stored suspicion has %d processes for %d calibrations", len(s.Processes), len(y.ids))
		}
		return s, nil
	}
	s = Suspicion{Provider: provider, Model: model, Number: 1, Calibrations: y.ids, Processes: make([]Process, len(y.ids))}
	c := b.Cursor()
	for k, _ := c.Seek(provider[:]); bytes.HasPrefix(k, provider[:]); k, _ = c.Next() {
		s.Number++
	}
	return s, nil
}

// Suspicions returns all that was found out about providers of the statistical
// tier.
func (a *Archive) Suspicions() (all []Suspicion, err error) {
	err = a.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(suspicionBucket).ForEach(func(_, js []byte) error {
			var s Suspicion
			if err := json.Unmarshal(js, &s); err != nil {
				return fmt.Errorf("a stored suspicion: %w", err)
			}
			all = append(all, s)
			return nil
		})
	})
	return all, err
}
